"""What an audio section says of Opus, its parameters, and redundancy.

Only a line that is no `a=rtpmap` at all refuses the offer. A parameter that cannot be read counts
as not said. Each line is looked at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from transceiver.call.offer import OpusWishes
from transceiver.signaling.sdp_sections import MediaLine, Section

MAX_PARAMETERS_CHARS = 1024  # of a=fmtp; browsers write some fifty
_RATES_HZ = range(8_000, 48_001)  # RFC 7587 §6.1, maxplaybackrate
_AVERAGES_BPS = range(6_000, 510_001)  # maxaveragebitrate
_MAPPING = re.compile(r"([0-9]{1,3}) ([A-Za-z0-9_.+-]{1,64}/[0-9]{1,9}(?:/[0-9]{1,3})?)")
# With rtcp-mux, 64–95 with the marker bit would look like RTCP (RFC 5761 §4).
_PAYLOAD_TYPES = frozenset(map(str, (*range(64), *range(96, 128))))


class UnreadableMapping(ValueError):  # noqa: N818 - says what is wrong
    """An `a=rtpmap` line, or a format of the `m=` line, that is none (RFC 8866 §6.6)."""


def opus_payload_type(section: Section, line: MediaLine) -> int | None:
    """The first payload type of opus/48000/2 (RFC 7587 §7) that the `m=` line offers, or None.

    Raises UnreadableMapping.
    """
    formats = set(line.formats.split())
    if not all(number.isascii() and number.isdigit() for number in formats):
        raise UnreadableMapping
    if not all(map(_MAPPING.fullmatch, section.values("rtpmap"))):
        raise UnreadableMapping
    return next(_payload_types(section, _PAYLOAD_TYPES & formats, "opus/48000/2"), None)


def opus_wishes(section: Section, payload_type: int) -> OpusWishes:
    """How the caller wants Opus to be sent to it (RFC 7587 §6.1)."""
    parameters = _parameters(section, payload_type)
    return OpusWishes(
        max_average_bps=_number(parameters.get("maxaveragebitrate"), _AVERAGES_BPS, 0),
        max_playback_hz=_number(parameters.get("maxplaybackrate"), _RATES_HZ, 48_000),
        fec=parameters.get("useinbandfec") == "1",
        dtx=parameters.get("usedtx") == "1",
    )


def red_payload_type(section: Section, line: MediaLine, payload_type: int) -> int | None:
    """The payload type of `red` over Opus `payload_type` (RFC 2198 §5), or None.

    An offer of red without a=fmtp, or over another codec, is not taken.
    """
    formats = _PAYLOAD_TYPES.intersection(line.formats.split())
    red = next(_payload_types(section, formats, "red/48000/2"), None)
    if red is None:
        return None
    return red if set(_text(section, red).split("/")) == {str(payload_type)} else None


def _payload_types(section: Section, formats: frozenset[str], codec: str) -> Iterator[int]:
    for value in section.values("rtpmap"):
        found = _MAPPING.fullmatch(value)
        if found and found[1] in formats and found[2].lower() == codec:
            yield int(found[1])


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
