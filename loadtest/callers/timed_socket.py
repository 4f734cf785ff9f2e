"""UDP sockets whose datagrams carry the kernel's receive time.

So a sink that is scheduled late does not make a packet late.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from typing import TypeVar

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python has no name for it
BUFFER_BYTES = 8 * 1024 * 1024
DATAGRAM_BYTES = 2048
ANCILLARY_BYTES = socket.CMSG_SPACE(16)

Key = TypeVar("Key")
Record = tuple[float, Key, bytes]
_TIMESPEC = struct.Struct("=qq")


def timed_socket() -> socket.socket:
    """Return a non-blocking IPv4 socket on loopback whose datagrams carry their receive time."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return sock


def take(sock: socket.socket, key: Key, into: list[Record[Key]]) -> None:
    """Append every datagram that waits on a socket, with its receive time."""
    while True:
        try:
            datagram, ancillary, _, _ = sock.recvmsg(DATAGRAM_BYTES, ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError:  # an ICMP error of an earlier send; the packet counts as lost
            continue
        into.append((_received_s(ancillary), key, datagram))


def _received_s(ancillary: Sequence[tuple[int, int, bytes]]) -> float:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data[:16])
            return float(seconds) + float(nanoseconds) / 1e9
    return time.time()
