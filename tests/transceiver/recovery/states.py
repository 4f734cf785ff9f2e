"""A call as a value, as an engine exports one: made by hand, so that no engine is needed."""

from __future__ import annotations

from dataclasses import replace

from tests.transceiver.caller import HOME, make_offer
from transceiver.call.offer import Fingerprint
from transceiver.takeover.session_state import (
    AudioState,
    ChannelState,
    DtlsPart,
    HeardState,
    IceGeneration,
    IceState,
    LinkState,
    PathState,
    SctpState,
    SendState,
    SessionState,
    SrtpPart,
    StreamState,
)

UFRAG = "2000018006NGW1YAF0AZE1R5"
FINGERPRINT = Fingerprint("sha-256", ":".join(["AB"] * 32))


def make_state(call_id: str = "rtc_one", unix_s: float = 0.0) -> SessionState:
    """A call of some seconds, with one channel."""
    return SessionState(
        call_id=call_id,
        surface="whip",
        started_unix_ms=1_795_985_640_842,
        unix_s=unix_s,
        offer=replace(make_offer(), fingerprints=(FINGERPRINT,)),
        ice=IceState(
            current=IceGeneration(UFRAG, "p" * 32, "caller", "c" * 24),
            pending=None,
            paths=(PathState(HOME, HOME, 1_000_000, True, 0.1),),
            selected=HOME,
            stale_selection=False,
            checked_ago_s=0.1,
        ),
        dtls=DtlsPart(
            "client", "ECDHE-ECDSA-AES128-GCM-SHA256", b"m" * 48, b"r" * 32, b"s" * 32, 7, 6
        ),
        audio=AudioState(
            send=SendState(
                ssrc=0x1234,
                sequence=16_468,
                first_sequence=16_463,
                timestamp=2_802_067_443,
                marker=False,
                due_in_s=0.02,
                packets=5,
                octets=30,
                acked=0,
                cleared=0,
                refused=0,
                skipped=0,
                queue=(),
            ),
            heard=HeardState(4660, 65_521, 65_525, 5, 67.8, 0, 0),
            received=5,
            recovered=0,
            lost_before=0,
            srtp=SrtpPart("SRTP_AEAD_AES_128_GCM", b"l" * 28, b"R" * 28, 1, 1, 4660),
        ),
        sctp=_sctp(),
        waiting=(),
        messages_received=1,
        messages_sent=1,
        link=LinkState("scripted", "{}", 1),
    )


def _sctp() -> SctpState:
    return SctpState(
        local_tag=2_743_278_111,
        remote_tag=2_329_490_489,
        local_port=5000,
        remote_port=5000,
        local_tsn=1_836_605_146,
        last_sacked_tsn=1_836_605_145,
        advanced_peer_ack_tsn=1_836_605_145,
        last_received_tsn=2_398_360_820,
        misordered=(),
        advertised_window=1_048_576,
        slow_start_threshold=1_048_576,
        partial_reliability=True,
        extensions=(192, 130),
        inbound_streams=1024,
        outbound_streams=1024,
        reconfig_request=1_836_605_145,
        reconfig_response=2_398_360_819,
        next_channel_id=0,
        outbound_sequences=((1, 1),),
        unacknowledged=(),
        inbound=(StreamState(1, 1, ()),),
        channels=(ChannelState(1, "oai-events", "", True, None, None),),
        unsent=(),
    )
