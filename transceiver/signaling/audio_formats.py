"""What an audio section says beside which Opus: its parameters, and redundancy over it.

Nothing here refuses an offer: a parameter that cannot be read counts as not said. Each line is
looked at once.
"""

from __future__ import annotations

import re

from transceiver.call.offer import OpusWishes
from transceiver.signaling.sdp_sections import MediaLine, Section

MAX_PARAMETERS_CHARS = 1024  # of a=fmtp; browsers write some fifty
_RATES_HZ = range(8_000, 48_001)  # RFC 7587 §6.1, maxplaybackrate
_AVERAGES_BPS = range(6_000, 510_001)  # maxaveragebitrate
_RED = re.compile(r"([0-9]{1,3}) red/48000/2", re.IGNORECASE)
# With rtcp-mux, 64–95 with the marker bit would look like RTCP (RFC 5761 §4).
_PAYLOAD_TYPES = frozenset((*range(64), *range(96, 128)))


def opus_wishes(section: Section, payload_type: int) -> OpusWishes:
    """How the caller wants Opus to be sent to it (RFC 7587 §6.1)."""
    said = _parameters(section, payload_type)
    return OpusWishes(
        max_average_bps=_number(said.get("maxaveragebitrate"), _AVERAGES_BPS, 0),
        max_playback_hz=_number(said.get("maxplaybackrate"), _RATES_HZ, 48_000),
        fec=said.get("useinbandfec") == "1",
        dtx=said.get("usedtx") == "1",
    )


def red_payload_type(section: Section, line: MediaLine, payload_type: int) -> int | None:
    """The payload type of `red` over Opus `payload_type` (RFC 2198 §5), or None.

    An offer of red without a=fmtp, or over another codec, is not taken.
    """
    formats = set(line.formats.split())
    for value in section.values("rtpmap"):
        found = _RED.fullmatch(value)
        if found and found[1] in formats and int(found[1]) in _PAYLOAD_TYPES:
            over = set(_text(section, int(found[1])).split("/"))
            return int(found[1]) if over == {str(payload_type)} else None
    return None


def _parameters(section: Section, payload_type: int) -> dict[str, str]:
    pairs = (part.partition("=") for part in _text(section, payload_type).split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _text(section: Section, payload_type: int) -> str:
    prefix = f"{payload_type} "
    for value in section.values("fmtp"):
        if value.startswith(prefix):
            return value[len(prefix) :].strip()[:MAX_PARAMETERS_CHARS]
    return ""


def _number(text: str | None, allowed: range, otherwise: int) -> int:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return otherwise
    return int(text) if int(text) in allowed else otherwise
