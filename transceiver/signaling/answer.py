"""The SDP answer: ICE-lite, one BUNDLE transport, Opus, and the relays as our only candidates.

The transceiver's own address is not an input, so it cannot appear. Sections we do not take keep
their place with port 0 (RFC 3264 §6), which is also how they leave the BUNDLE group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from transceiver.call.offer import AudioOffer, Offer
from transceiver.signaling.offer_policy import CheckedOffer
from transceiver.signaling.sdp_sections import MediaLine
from trunkline.process.address import Address

SCTP_PORT = 5000
MAX_MESSAGE_BYTES = 262_144
STREAM_ID = "trunkline"
TRACK_ID = "trunkline-voice"
# The caller's encoder is asked for in-band FEC and mono; stereo would double the rate of speech.
OPUS_PARAMETERS = "minptime=10;useinbandfec=1;stereo=0"

_HOST_PREFERENCE = 126  # RFC 8445 §5.1.2.2, recommended for host candidates
_DTLS_SETUP = {"client": "active", "server": "passive"}


@dataclass(frozen=True)
class LocalIdentity:
    """Our side of a call: ICE credentials, SHA-256 of the certificate (colon hex), RTP source."""

    ufrag: str = field(repr=False)
    password: str = field(repr=False)
    fingerprint: str
    ssrc: int
    cname: str
    session_id: int  # of the o= line: any number that fits 63 bits (RFC 8829 §5.2.1)


def write_answer(checked: CheckedOffer, local: LocalIdentity, relays: Sequence[Address]) -> str:
    """The answer to an offer, with CRLF line ends.

    `relays` are numeric addresses, most preferred first; at least one.
    """
    lines = list(_session_lines(checked.offer, local))
    candidate_lines = list(candidates(relays))
    for line, mid in zip(checked.sections, checked.offer.mids, strict=True):
        if mid not in _accepted(checked.offer):
            lines += [f"m={line.kind} 0 {line.protocol} {line.formats}", "c=IN IP4 0.0.0.0"]
            lines += ["a=inactive", f"a=mid:{mid}"]
            continue
        lines += _accepted_section(checked.offer, line, mid, local, relays[0])
        # RFC 9143 §7.1.3: the transport's candidates stand once, in the first section of the group.
        lines += candidate_lines
        candidate_lines = []
    return "\r\n".join(lines) + "\r\n"


def candidates(relays: Sequence[Address]) -> Iterator[str]:
    """`a=candidate` lines for the relays and `a=end-of-candidates` (RFC 8839 §5.1, RFC 8838 §14).

    Priorities descend in the order given; each address is a foundation of its own.
    """
    for index, relay in enumerate(relays):
        priority = _HOST_PREFERENCE << 24 | (0xFFFF - index) << 8 | 255
        yield f"a=candidate:{index + 1} 1 udp {priority} {relay.host} {relay.port} typ host"
    yield "a=end-of-candidates"


def _accepted(offer: Offer) -> tuple[str, ...]:
    taken = {offer.audio.mid} | ({offer.data.mid} if offer.data else set())
    return tuple(mid for mid in offer.mids if mid in taken)


def _session_lines(offer: Offer, local: LocalIdentity) -> Iterator[str]:
    yield "v=0"
    yield f"o=- {local.session_id} 2 IN IP4 0.0.0.0"
    yield "s=-"
    yield "t=0 0"
    yield "a=ice-lite"
    yield f"a=group:BUNDLE {' '.join(_accepted(offer))}"
    yield f"a=msid-semantic: WMS {STREAM_ID}"


def _accepted_section(
    offer: Offer, line: MediaLine, mid: str, local: LocalIdentity, relay: Address
) -> Iterator[str]:
    # The default destination is one of the candidates (RFC 8839 §4.2.1.2).
    yield f"m={line.kind} {relay.port} {line.protocol} {_formats(offer, mid)}"
    yield f"c=IN {'IP6' if ':' in relay.host else 'IP4'} {relay.host}"
    yield f"a=mid:{mid}"
    yield f"a=ice-ufrag:{local.ufrag}"
    yield f"a=ice-pwd:{local.password}"
    yield f"a=fingerprint:sha-256 {local.fingerprint}"
    yield f"a=setup:{_DTLS_SETUP[offer.dtls_role]}"
    if mid == offer.audio.mid:
        yield from _audio_lines(offer.audio, local)
    else:
        yield f"a=sctp-port:{SCTP_PORT}"
        yield f"a=max-message-size:{MAX_MESSAGE_BYTES}"


def _formats(offer: Offer, mid: str) -> str:
    if mid != offer.audio.mid:
        return "webrtc-datachannel"
    audio = offer.audio
    red = [] if audio.red_payload_type is None else [audio.red_payload_type]
    # The caller sends what stands first (RFC 3264 §6.1): redundancy is taken, and not asked for.
    return " ".join(map(str, [audio.payload_type, *red]))


def _audio_lines(audio: AudioOffer, local: LocalIdentity) -> Iterator[str]:
    yield f"a={_direction(audio)}"
    yield "a=rtcp-mux"
    yield f"a=rtpmap:{audio.payload_type} opus/48000/2"
    yield f"a=fmtp:{audio.payload_type} {OPUS_PARAMETERS}"
    if audio.red_payload_type is not None:
        yield f"a=rtpmap:{audio.red_payload_type} red/48000/2"
        yield f"a=fmtp:{audio.red_payload_type} {audio.payload_type}/{audio.payload_type}"
    yield "a=ptime:20"
    if audio.receives:
        yield f"a=msid:{STREAM_ID} {TRACK_ID}"
        yield f"a=ssrc:{local.ssrc} cname:{local.cname}"
        yield f"a=ssrc:{local.ssrc} msid:{STREAM_ID} {TRACK_ID}"


def _direction(audio: AudioOffer) -> str:
    """Ours: the caller's seen from the other end (RFC 3264 §6.1)."""
    words = {
        (True, True): "sendrecv",
        (True, False): "sendonly",
        (False, True): "recvonly",
        (False, False): "inactive",
    }
    return words[audio.receives, audio.sends]
