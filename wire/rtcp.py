"""RTCP compound packets (RFC 3550 §6): sender and receiver reports, SDES CNAME, BYE."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from wire.errors import WireError

NTP_EPOCH_OFFSET_S = 2_208_988_800  # 1900 to 1970 (RFC 868)

MAX_PACKETS = 32  # in a compound; browsers send six

_COMMON = struct.Struct("!BBH")
_REPORT_BLOCK = struct.Struct("!IIIIII")
_SENDER_INFO = struct.Struct("!IQIII")

_SR, _RR, _SDES, _BYE = 200, 201, 202, 203
_CNAME = 1


@dataclass(frozen=True)
class ReportBlock:
    """What a receiver says of one source (§6.4.1)."""

    ssrc: int
    fraction_lost: int  # of 256, since the last report
    packets_lost: int  # signed 24 bits: duplicates can make it negative
    highest_sequence: int  # extended, 32 bits
    jitter: int  # in timestamp ticks
    last_sr: int  # middle 32 bits of the NTP time of the last SR; 0 if none
    delay_since_last_sr: int  # in 1/65536 s


@dataclass(frozen=True)
class SenderReport:
    """SR: what the sender has sent, and what it hears (§6.4.1)."""

    ssrc: int
    ntp_time: int  # 64 bits, see `ntp_time`
    rtp_time: int
    packet_count: int
    octet_count: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True)
class ReceiverReport:
    """RR (§6.4.2)."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True)
class SourceDescription:
    """SDES with the one item that must be there, CNAME (§6.5.1)."""

    ssrc: int
    cname: str


@dataclass(frozen=True)
class Goodbye:
    """BYE (§6.6)."""

    ssrcs: tuple[int, ...]


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Goodbye


def ntp_time(unix_s: float) -> int:
    """A Unix time as the 64-bit NTP timestamp (§4)."""
    return int((unix_s + NTP_EPOCH_OFFSET_S) * (1 << 32)) & 0xFFFF_FFFF_FFFF_FFFF


def middle_32(ntp: int) -> int:
    """The middle 32 bits, as `last_sr` carries them: 1/65536 s."""
    return ntp >> 16 & 0xFFFF_FFFF


def read(packet: bytes) -> tuple[RtcpPacket, ...]:
    """The packets of a compound that we use; other types are passed over.

    Raises WireError: `rtcp_short`, `rtcp_version`, `rtcp_length`, `rtcp_body`, or `rtcp_packets`
    for more than MAX_PACKETS. A reduced-size packet (RFC 5506) reads like any other.
    """
    if len(packet) < 4:
        raise WireError("rtcp_short")
    found: list[RtcpPacket] = []
    offset = count = 0
    while offset < len(packet):
        if (count := count + 1) > MAX_PACKETS:
            raise WireError("rtcp_packets")
        if offset + 4 > len(packet):
            raise WireError("rtcp_short")
        first, kind, words = _COMMON.unpack_from(packet, offset)
        if first >> 6 != 2:
            raise WireError("rtcp_version")
        end = offset + 4 + 4 * words
        if end > len(packet):
            raise WireError("rtcp_length")
        body = packet[offset + 4 : end]
        found += _read_one(kind, first & 0x1F, body)
        offset = end
    return tuple(found)


def _read_one(kind: int, count: int, body: bytes) -> Sequence[RtcpPacket]:
    try:
        if kind == _SR:
            ssrc, ntp, rtp_time, packets, octets = _SENDER_INFO.unpack_from(body)
            blocks = _read_blocks(body, _SENDER_INFO.size, count)
            return (SenderReport(ssrc, ntp, rtp_time, packets, octets, blocks),)
        if kind == _RR:
            return (ReceiverReport(int.from_bytes(body[:4]), _read_blocks(body, 4, count)),)
        if kind == _SDES:
            return _read_cnames(body, count)
        if kind == _BYE:
            return (Goodbye(struct.unpack_from(f"!{count}I", body)),)
    except (struct.error, IndexError):
        raise WireError("rtcp_body") from None
    return ()


def _read_blocks(body: bytes, offset: int, count: int) -> tuple[ReportBlock, ...]:
    if len(body) < offset + count * _REPORT_BLOCK.size:
        raise WireError("rtcp_body")
    return tuple(_read_block(body, offset + index * _REPORT_BLOCK.size) for index in range(count))


def _read_block(body: bytes, offset: int) -> ReportBlock:
    ssrc, loss, highest, jitter, last_sr, delay = _REPORT_BLOCK.unpack_from(body, offset)
    lost = loss & 0xFFFFFF
    signed_lost = lost - 0x1000000 if lost & 0x800000 else lost
    return ReportBlock(ssrc, loss >> 24, signed_lost, highest, jitter, last_sr, delay)


def _read_cnames(body: bytes, count: int) -> list[RtcpPacket]:
    found: list[RtcpPacket] = []
    offset = 0
    for _ in range(count):
        (ssrc,) = struct.unpack_from("!I", body, offset)
        offset += 4
        cname: bytes | None = None
        while item := body[offset]:
            start, offset = offset + 2, offset + 2 + body[offset + 1]
            if item == _CNAME and cname is None:  # one a source (§6.5.1); more would cost us
                cname = body[start:offset]
        if cname is not None:
            found.append(SourceDescription(ssrc, cname.decode("utf-8", "replace")))
        offset += 4 - offset % 4  # the list ends with 1 to 4 zero bytes, at a word boundary
    return found


def write(packets: Sequence[RtcpPacket]) -> bytes:
    """Bytes of a compound; the first must be an SR or RR (§6.1), which the caller sees to."""
    return b"".join(_write_one(packet) for packet in packets)


def _write_one(packet: RtcpPacket) -> bytes:
    if isinstance(packet, SenderReport):
        info = _SENDER_INFO.pack(
            packet.ssrc, packet.ntp_time, packet.rtp_time, packet.packet_count, packet.octet_count
        )
        return _frame(_SR, len(packet.reports), info + _write_blocks(packet.reports))
    if isinstance(packet, ReceiverReport):
        body = packet.ssrc.to_bytes(4) + _write_blocks(packet.reports)
        return _frame(_RR, len(packet.reports), body)
    if isinstance(packet, SourceDescription):
        cname = packet.cname.encode()[:255]
        item = packet.ssrc.to_bytes(4) + bytes((_CNAME, len(cname))) + cname
        return _frame(_SDES, 1, item + bytes(4 - len(item) % 4))
    return _frame(_BYE, len(packet.ssrcs), struct.pack(f"!{len(packet.ssrcs)}I", *packet.ssrcs))


def _frame(kind: int, count: int, body: bytes) -> bytes:
    return _COMMON.pack(0x80 | count, kind, len(body) // 4) + body


def _write_blocks(blocks: Sequence[ReportBlock]) -> bytes:
    return b"".join(
        _REPORT_BLOCK.pack(
            block.ssrc,
            block.fraction_lost << 24 | block.packets_lost & 0xFFFFFF,
            block.highest_sequence,
            block.jitter,
            block.last_sr,
            block.delay_since_last_sr,
        )
        for block in blocks
    )
