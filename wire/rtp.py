"""RTP packets (RFC 3550 §5.1, header extensions §5.3.1)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from wire.errors import WireError

HEADER_BYTES = 12

_BARE = 0x80  # version 2, no padding, no extension, no contributing sources

_HEADER = struct.Struct("!BBHII")


class RtpPacket(NamedTuple):
    """One RTP packet without its header extensions and padding."""

    payload_type: int
    marker: bool
    sequence: int  # 16 bits
    timestamp: int  # 32 bits, in ticks of the payload's clock
    ssrc: int
    payload: bytes


def read(packet: bytes) -> RtpPacket:
    """The packet. Raises WireError: `rtp_short`, `rtp_version`, `rtp_length` or `rtp_padding`."""
    if len(packet) < HEADER_BYTES:
        raise WireError("rtp_short")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(packet)
    if first == _BARE:
        # Nearly every packet. A tuple made directly skips the constructor: half of all the time.
        fields = (second & 0x7F, second >= 0x80, sequence, timestamp, ssrc, packet[HEADER_BYTES:])
        return tuple.__new__(RtpPacket, fields)
    if first >> 6 != 2:
        raise WireError("rtp_version")
    start = HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:
        start = _after_extension(packet, start)
    end = len(packet)
    if first & 0x20:
        end -= _padding(packet)
    if start > end:
        raise WireError("rtp_length")
    payload = packet[start:end]
    return RtpPacket(second & 0x7F, second >= 0x80, sequence, timestamp, ssrc, payload)


def _after_extension(packet: bytes, start: int) -> int:
    if start + 4 > len(packet):
        raise WireError("rtp_length")
    return start + 4 + 4 * int.from_bytes(packet[start + 2 : start + 4])


def _padding(packet: bytes) -> int:
    if not packet[-1]:
        raise WireError("rtp_padding")
    return packet[-1]


def write(
    payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int, payload: bytes
) -> bytes:
    """Bytes of a packet without extensions; numbers must already be within their widths."""
    second = payload_type | 0x80 if marker else payload_type
    return _HEADER.pack(0x80, second, sequence, timestamp, ssrc) + payload
