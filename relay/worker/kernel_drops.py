"""Counts datagrams that the kernel lost because the queue of a socket was full.

`SO_RXQ_OVFL` would put this number into a control message of every datagram from the first loss
on, and needs its room made ready before every receive call. `SO_MEMINFO` reads the very same
counter of the socket (`sk_drops`) when somebody wants to know it: half a microsecond, and nothing
on the packet path.
"""

from __future__ import annotations

import os
import socket
import struct

from relay.shared.counters import Counter, Counts

# Neither is in the socket module: asm-generic/socket.h, linux/sock_diag.h.
_SO_MEMINFO = 55
_DROPS_OFFSET, _MEMINFO_BYTES = 8 * 4, 9 * 4
_U32 = 0xFFFFFFFF


class KernelDrops:
    """Adds what one socket lost to a counter, also across a wrap and across workers."""

    def __init__(self, fd: int, counts: Counts, counter: Counter) -> None:
        self._socket = socket.socket(fileno=os.dup(fd))
        self._counts = counts
        self._counter = counter

    def read(self) -> None:
        """Bring the counter up to date."""
        info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO_BYTES)
        (drops,) = struct.unpack_from("=I", info, _DROPS_OFFSET)
        # The counter goes on where the worker before left it, so it is what was last read.
        self._counts[self._counter] += (drops - int(self._counts[self._counter])) & _U32

    def close(self) -> None:
        """Let the descriptor go."""
        self._socket.close()
