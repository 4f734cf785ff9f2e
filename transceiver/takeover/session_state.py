"""A whole call as a value and as bytes, so that another process can go on with it.

    Session ── export ─▶ SessionState ── write ─▶ bytes ── read ─▶ SessionState ── resume ─▶ Session

Everything that both sides of the wire count is in here; what can be learned again (round trip,
loss, congestion window) is not. Times are relative to `unix_s`, because clocks of two processes
have nothing else in common. Secrets are in it: bytes at rest must be encrypted by whoever keeps
them, and `repr` shows none.

The bytes are JSON with its version first. A reader refuses other versions; a field with a default
may be added without a new one.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter, ValidationError

from transceiver.call.offer import Offer
from transceiver.call.principal import NOBODY, Principal

VERSION = 1
MAX_STATE_BYTES = 16 * 1024 * 1024  # SCTP's buffers, and six seconds of PCM, in base64
MAX_INDEX = 1 << 40  # of SRTP packets: more than 600 years; bounds the work of a resumption
MAX_RTCP_INDEX = 1 << 20  # a month of reports


class StateUnreadable(Exception):  # noqa: N818 - a verdict on foreign bytes
    """Bytes that are no state of this version; the text quotes none of them."""


def _decode(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


Octets = Annotated[bytes, BeforeValidator(_decode), PlainSerializer(_encode)]
Sequence16 = Annotated[int, Field(ge=0, le=0xFFFF)]
Serial32 = Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]
Index = Annotated[int, Field(ge=0, le=MAX_INDEX)]
RtcpIndex = Annotated[int, Field(ge=0, le=MAX_RTCP_INDEX)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Reserve:
    """How far counters jump, so that what was sent after the export is never numbered again.

    Nothing is needed when the old owner stopped sending before it exported.
    """

    rtp_packets: int = 0
    rtcp_packets: int = 0
    dtls_records: int = 0
    sctp_chunks: int = 0


STOPPED_BEFORE = Reserve()
# For a state that is up to a second old: a second of catching up is 100 packets, of reports 2, and
# data at 10 Mb/s some 1,000 records.
SECOND_OLD = Reserve(rtp_packets=256, rtcp_packets=16, dtls_records=4096, sctp_chunks=4096)


@dataclass(frozen=True)
class IceGeneration:
    """One pair of ICE credentials."""

    local_ufrag: str = field(repr=False)
    local_password: str = field(repr=False)
    remote_ufrag: str = field(repr=False)
    remote_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class PathState:
    """An address of the caller (18 bytes), and the relay that hears it (18 bytes, or empty).

    `answered`: somebody hears us there. A state that does not say so is older than the question.
    """

    address: Octets = field(repr=False)
    relay: Octets = field(repr=False)
    priority: int
    nominated: bool
    silent_s: float
    answered: bool = True


@dataclass(frozen=True)
class IceState:
    """The ICE-lite agent. `checked_ago_s` is None before the first check."""

    current: IceGeneration
    pending: IceGeneration | None
    paths: tuple[PathState, ...]
    selected: Octets | None = field(repr=False)
    stale_selection: bool
    checked_ago_s: float | None


@dataclass(frozen=True)
class DtlsPart:
    """A DTLS 1.2 association after its handshake: `transport.dtls.DtlsState` without SRTP."""

    role: Literal["client", "server"]
    cipher: str
    master_secret: Octets = field(repr=False)
    client_random: Octets = field(repr=False)
    server_random: Octets = field(repr=False)
    next_write_sequence: Count
    last_read_sequence: Count


@dataclass(frozen=True)
class SrtpPart:
    """SRTP keys, and the indexes (RFC 3711 §3.3.1: roll-over counter ‖ sequence) that libsrtp has.

    `rtcp_sent` and `rtcp_heard` are SRTCP indexes; `rtcp_heard` is that of `rtcp_ssrc`.
    """

    profile: str
    local: Octets = field(repr=False)
    remote: Octets = field(repr=False)
    rtcp_sent: RtcpIndex
    rtcp_heard: RtcpIndex
    rtcp_ssrc: Serial32


@dataclass(frozen=True)
class SendState:
    """The paced sender. `sequence` and `timestamp` are the next packet's, extended."""

    ssrc: Serial32
    sequence: Index
    first_sequence: Index
    timestamp: Index
    marker: bool
    due_in_s: float | None
    packets: Count
    octets: Count
    acked: Count
    cleared: Count
    refused: Count
    skipped: Count
    queue: tuple[tuple[Octets, int], ...] = field(repr=False)


@dataclass(frozen=True)
class HeardState:
    """What was counted of the caller's stream; `base` and `highest` are extended."""

    ssrc: Serial32
    base: Index
    highest: Index
    received: Count
    jitter: float
    expected_prior: int
    received_prior: int


@dataclass(frozen=True)
class AudioState:
    """Both directions of the audio."""

    send: SendState
    heard: HeardState | None
    received: Count
    recovered: Count
    lost_before: Count
    srtp: SrtpPart
    shift: Serial32 = 0  # from the caller's timestamps to those the backend hears


@dataclass(frozen=True)
class ChunkState:
    """A DATA chunk that is not acknowledged, or waits for the rest of its message."""

    flags: int
    tsn: Serial32
    stream_id: Sequence16
    stream_seq: Sequence16
    protocol: Serial32
    data: Octets = field(repr=False)
    max_retransmits: int | None = None
    expiry_unix_s: float | None = None


@dataclass(frozen=True)
class StreamState:
    """An incoming stream: the next sequence number to deliver, and chunks that wait for it."""

    stream_id: Sequence16
    sequence: Sequence16
    chunks: tuple[ChunkState, ...]


@dataclass(frozen=True)
class ChannelState:
    """An open data channel."""

    stream_id: Sequence16
    label: str = field(repr=False)
    protocol: str = field(repr=False)
    ordered: bool
    max_packet_lifetime_ms: int | None
    max_retransmits: int | None


@dataclass(frozen=True)
class UnsentMessage:
    """A message that SCTP has not cut into chunks yet."""

    stream_id: Sequence16
    protocol: Serial32
    data: Octets = field(repr=False)


@dataclass(frozen=True)
class SctpState:
    """The SCTP association, established, in the words of RFC 9260."""

    local_tag: Serial32
    remote_tag: Serial32
    local_port: Sequence16
    remote_port: Sequence16
    local_tsn: Serial32
    last_sacked_tsn: Serial32
    advanced_peer_ack_tsn: Serial32
    last_received_tsn: Serial32
    misordered: tuple[Serial32, ...]
    advertised_window: int
    slow_start_threshold: int | None
    partial_reliability: bool
    extensions: tuple[int, ...]
    inbound_streams: int
    outbound_streams: int
    reconfig_request: Serial32
    reconfig_response: Serial32
    next_channel_id: int
    outbound_sequences: tuple[tuple[Sequence16, Sequence16], ...]
    unacknowledged: tuple[ChunkState, ...]
    inbound: tuple[StreamState, ...]
    channels: tuple[ChannelState, ...]
    unsent: tuple[UnsentMessage, ...]


@dataclass(frozen=True)
class WaitingMessage:
    """A message for a channel that is not open yet."""

    label: str = field(repr=False)
    text: str | None = field(repr=False)
    binary: Octets | None = field(repr=False)


@dataclass(frozen=True)
class LinkState:
    """Where the conversation is: which backend, what it was told, and the format of its sound.

    `remembered` is the newest snapshot of the conversation. `ear` is from where on the backend
    counts frames (`transceiver.rtp.ear_since`): `first`, `cleared`, `given`. The rest is
    `transceiver.link.position.Position`. A state without it is of a call that its backend does not
    hold.
    """

    backend: str
    session_json: str = field(repr=False)
    audio_format: int
    remembered: Octets = field(default=b"", repr=False)
    ear: tuple[Count, Count, Count] = (0, 0, 0)
    token: Octets = field(default=b"", repr=False)
    taken_events: Count = 0
    sent_events: Count = 0
    clears: Count = 0
    instance: str = ""
    name: str = ""  # as operators call the backend; `backend` is what it calls itself


@dataclass(frozen=True)
class Places:
    """The places of the call in the limits: its ticket there, whose key, under which subjects."""

    ticket: str
    key_id: str
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class SessionState:
    """One connected call at the Unix time `unix_s`. `sctp` is None when no message can flow yet."""

    call_id: str
    surface: str
    started_unix_ms: int
    unix_s: float
    offer: Offer = field(repr=False)
    ice: IceState
    dtls: DtlsPart
    audio: AudioState
    sctp: SctpState | None
    waiting: tuple[WaitingMessage, ...]
    messages_received: Count
    messages_sent: Count
    link: LinkState
    placed_by: Principal = NOBODY
    sideband_opening: str = field(default="", repr=False)
    sidebands: Count = 0  # listeners that come again
    sideband_missed: tuple[str, ...] = field(default=(), repr=False)  # what they have not heard yet
    places: Places | None = None
    version: Literal[1] = 1


_ADAPTER: TypeAdapter[SessionState] = TypeAdapter(SessionState)


def write(state: SessionState) -> bytes:
    """The state as bytes."""
    return _ADAPTER.dump_json(state)


def read(data: bytes) -> SessionState:
    """The state in bytes that `write` made. Raises StateUnreadable for anything else."""
    if len(data) > MAX_STATE_BYTES:
        raise StateUnreadable(f"more than {MAX_STATE_BYTES} bytes")
    try:
        return _ADAPTER.validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise StateUnreadable(f"{where or 'state'}: {problem['type']}") from None
