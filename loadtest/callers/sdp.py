"""The SDP of the light caller: one audio section out; the few lines it needs back."""

from __future__ import annotations

import re
from dataclasses import dataclass

from loadtest.errors import CallFailedError

OPUS_PAYLOAD_TYPE = 111
_DATA = (  # RFC 8841
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "c=IN IP4 0.0.0.0",
    "a=mid:1",
    "a=sctp-port:5000",
)
_LINE = re.compile(r"^a=([a-z-]+):(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class RemoteSide:
    """What an answer says of the other side. `setup` is its DTLS role (RFC 5763 section 5)."""

    ufrag: str
    password: str
    fingerprint: str
    setup: str
    host: str
    port: int


def write_offer(
    ufrag: str, password: str, fingerprint: str, ssrc: int, *, data: bool = False
) -> str:
    """Return an offer for one Opus stream both ways, and for `data` channels if they are wanted.

    It has no candidates: the other side is ICE-lite.
    """
    lines = (
        "v=0",
        "o=- 1 1 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {'0 1' if data else '0'}",
        f"m=audio 9 UDP/TLS/RTP/SAVPF {OPUS_PAYLOAD_TYPE}",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        "a=sendrecv",
        "a=rtcp-mux",
        f"a=rtpmap:{OPUS_PAYLOAD_TYPE} opus/48000/2",
        f"a=fmtp:{OPUS_PAYLOAD_TYPE} minptime=10;useinbandfec=1",
        f"a=ssrc:{ssrc} cname:light-caller",
        f"a=ice-ufrag:{ufrag}",
        f"a=ice-pwd:{password}",
        f"a=fingerprint:sha-256 {fingerprint}",
        "a=setup:actpass",  # RFC 8842 section 5.2: an offer leaves the role open
        *(_DATA if data else ()),
    )
    return "".join(f"{line}\r\n" for line in lines)


def read_answer(sdp: str) -> RemoteSide:
    """Read an answer. Raises CallFailedError `bad_answer` when a line is missing or malformed."""
    found: dict[str, str] = {}
    for name, value in _LINE.findall(sdp):
        if name != "fingerprint" or value.lower().startswith("sha-256 "):
            found.setdefault(name, value)
    try:
        # RFC 8839 section 5.1: foundation component transport priority address port …
        host, port = found["candidate"].split()[4:6]
        return RemoteSide(
            ufrag=found["ice-ufrag"],
            password=found["ice-pwd"],
            fingerprint=found["fingerprint"].split()[1].upper(),
            setup=found["setup"],
            host=host,
            port=int(port),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise CallFailedError("bad_answer") from error
