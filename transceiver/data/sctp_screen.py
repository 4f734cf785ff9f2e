"""Checks an SCTP packet before aiortc may parse it (RFC 9260 §3).

aiortc's parser trusts its peer: a parameter of length 0 makes it loop for ever, a chunk cut short
raises out of the packet path, and every stream a peer names costs memory. Here the shape of each
chunk is checked first; `screen` knows no association state.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from struct import unpack_from

from transceiver.counters import Counted

MAX_PACKET_BYTES = 2048
MAX_CHUNKS = 64  # in one packet; 1,200 bytes hold 59 of the shortest DATA chunks
MAX_STREAMS = 1024  # stream identifiers 0–1023: what libwebrtc uses

_COMMON_HEADER_BYTES = 12
_DATA, _INIT, _INIT_ACK, _SACK, _HEARTBEAT, _HEARTBEAT_ACK = range(6)
_ABORT, _SHUTDOWN, _ERROR, _RECONFIG, _FORWARD_TSN = 6, 7, 9, 130, 192

# RFC 6525 §4: fixed bytes of a parameter, its header included.
_RECONFIG_BYTES = {13: 16, 16: 12, 17: 12}


def screen(packet: bytes) -> str | None:
    """The reason `packet` must be dropped, or None when it may be parsed."""
    if not _COMMON_HEADER_BYTES + 4 <= len(packet) <= MAX_PACKET_BYTES:
        return Counted.SCTP_SIZE
    chunks = list(_items(packet, _COMMON_HEADER_BYTES, length_at=2))
    if None in chunks:
        return Counted.SCTP_MALFORMED
    if len(chunks) > MAX_CHUNKS:
        return Counted.SCTP_TOO_MANY_CHUNKS
    kinds = [chunk[0] for chunk in chunks if chunk]
    if _INIT in kinds and len(kinds) > 1:  # RFC 9260 §6.10: never bundled
        return Counted.SCTP_MALFORMED
    return None if all(_sound(chunk) for chunk in chunks if chunk) else Counted.SCTP_MALFORMED


def _items(data: bytes, start: int, length_at: int) -> Iterator[bytes | None]:
    """Chunks or parameters, padded to 4 bytes and their padding cut off; None, last, if bad."""
    while len(data) - start >= 4:
        length = int.from_bytes(data[start + length_at : start + length_at + 2], "big")
        if length < 4 or start + length > len(data):
            yield None
            return
        yield data[start : start + length]
        start += length + -length % 4


def _sound(chunk: bytes) -> bool:
    kind = chunk[0]
    if kind in (_INIT, _INIT_ACK):
        return len(chunk) >= 20 and _sound_parameters(chunk, 20)
    if kind in (_HEARTBEAT, _HEARTBEAT_ACK, _ABORT, _ERROR):
        return _sound_parameters(chunk, 4)
    rule = _RULES.get(kind)
    return rule is None or rule(chunk)


def _sound_parameters(chunk: bytes, start: int) -> bool:
    return None not in _items(chunk, start, length_at=2)


def _sound_data(chunk: bytes) -> bool:
    # RFC 9260 §3.3.1: a DATA chunk without user data is a protocol violation.
    return len(chunk) > 16 and _uint16(chunk, 8) < MAX_STREAMS


def _sound_sack(chunk: bytes) -> bool:
    if len(chunk) < 16:
        return False
    gaps, duplicates = unpack_from("!HH", chunk, 12)
    if len(chunk) != 16 + 4 * (gaps + duplicates):
        return False
    ends = unpack_from(f"!{2 * gaps}H", chunk, 16)
    # Gap blocks rise and do not touch, or aiortc walks the same numbers again and again.
    return all(a <= b for a, b in pairwise(ends)) and all(
        end < start for end, start in zip(ends[1::2], ends[2::2], strict=False)
    )


def _sound_forward_tsn(chunk: bytes) -> bool:
    if len(chunk) < 8 or len(chunk) % 4:
        return False
    return all(_uint16(chunk, at) < MAX_STREAMS for at in range(8, len(chunk), 4))


def _sound_reconfig(chunk: bytes) -> bool:
    return all(
        parameter is not None
        and len(parameter) >= _RECONFIG_BYTES.get(_uint16(parameter, 0), 4)
        and len(parameter) % 2 == 0
        for parameter in _items(chunk, 4, length_at=2)
    )


def _sound_shutdown(chunk: bytes) -> bool:
    return len(chunk) == 8


def _uint16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


_RULES = {
    _DATA: _sound_data,
    _SACK: _sound_sack,
    _FORWARD_TSN: _sound_forward_tsn,
    _RECONFIG: _sound_reconfig,
    _SHUTDOWN: _sound_shutdown,
}
