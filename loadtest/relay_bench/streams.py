"""Packets to send, as the file that load.c maps."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from loadtest.relay_bench.packets import PATCH_BYTES

_HEAD = struct.Struct("=QQQQQQ4s2s10x")
_RECORD = struct.Struct("=II4sIIII4x")
ANY_HOST = bytes(4)


@dataclass(frozen=True)
class Packet:
    """One packet: `source` is the 4-byte address it comes from, the socket's own if zero.

    `stamps` places of 8 bytes, `stamp_stride` apart from `stamp_at` on, get the time of sending;
    `frames` is how many the sink should count for it.
    """

    data: bytes
    source: bytes = ANY_HOST
    stamp_at: int = 0
    stamp_stride: int = 0
    stamps: int = 0
    frames: int = 1


@dataclass(frozen=True)
class Stream:
    """Packets for one destination. With `patches` each is sent once, else they go round.

    `rate_pps` 0 means as fast as the window allows. `burst` sends go into one system call;
    `segment` neighbours, of one length and source, into one UDP_SEGMENT send.
    """

    sock: socket.socket
    to: tuple[str, int]
    packets: Sequence[Packet]
    patches: bytes = b""
    rate_pps: float = 0
    burst: int = 1
    segment: int = 1

    def at(self, rate_pps: float, burst: int) -> Stream:
        """The same packets at another pace."""
        return replace(self, rate_pps=rate_pps, burst=burst)

    def one_by_one(self, rate_pps: float) -> Stream:
        """The same packets, each in a system call of its own."""
        return replace(self, rate_pps=rate_pps, burst=1, segment=1)


def stream_file(stream: Stream) -> int:
    """Descriptor of a new file in memory that holds the stream; the caller closes it."""
    records, data_bytes = [], 0
    for packet in stream.packets:
        records.append(
            _RECORD.pack(
                data_bytes,
                len(packet.data),
                packet.source,
                packet.stamp_at,
                packet.stamp_stride,
                packet.stamps,
                packet.frames,
            )
        )
        data_bytes += len(packet.data)
    patches_at = _HEAD.size + _RECORD.size * len(records)
    data_at = patches_at + len(stream.patches)
    host, port = stream.to
    head = _HEAD.pack(
        len(records),
        len(stream.patches) // PATCH_BYTES,
        _HEAD.size,
        patches_at,
        data_at,
        data_at + data_bytes,
        socket.inet_aton(host),
        port.to_bytes(2),
    )
    fd = os.memfd_create("stream")
    with open(fd, "wb", closefd=False) as file:
        file.writelines([head, *records, stream.patches, *(p.data for p in stream.packets)])
    return fd
