"""Reads a socket, and skips what has waited in its queue for too long to be of use.

A process that was stopped, or a queue whose reader was replaced, leaves seconds of datagrams
behind; to forward them makes a live voice late. The kernel stamps what arrives and tells the stamp
of the datagram that was read last (`SIOCGSTAMPNS`), so nothing is added to a datagram and nothing
is asked while all goes well:

    read without a pause, batch not full    the queue was emptied a moment ago: all is fresh
    the batch came full                     its last is its youngest: one question a batch
    not read for `WORTH_S`                  one by one until a fresh one comes: a question each

Voices are what is meant, but all that is old is passed over: STUN, DTLS and SCTP have repeated
themselves by then.
"""

from __future__ import annotations

import fcntl
import math
import struct
import time
from contextlib import suppress

from datagram.mmsg import ReceiveBatch

WORTH_S = 1.0  # older words are no part of a conversation
_SIOCGSTAMPNS = 0x8907  # asm-generic/sockios.h
_TIMESPEC = struct.Struct("@qq")


class FreshQueue:
    """The queue of the socket `fd`, read into `received`.

    Times are those of a monotonic clock, in seconds. A kernel without stamps passes nothing over.
    """

    def __init__(self, fd: int, received: ReceiveBatch) -> None:
        self._stale = 0
        self._fd = fd
        self._received = received
        self._stamp = bytearray(_TIMESPEC.size)
        self._read_s = -math.inf
        self._age_s()  # from the first question on the kernel stamps

    def receive(self, now_s: float) -> int:
        """As `ReceiveBatch.receive`; it may bring less than is queued, and 0 only if nothing is."""
        most = 1 if now_s - self._read_s > WORTH_S else self._received.capacity
        self._read_s = now_s
        count = self._received.receive(self._fd, most)
        while count == most and self._age_s() > WORTH_S:
            self._stale += count
            count = self._received.receive(self._fd, most)
        return count

    def take_stale(self) -> int:
        """How many datagrams were passed over since this was asked last."""
        stale, self._stale = self._stale, 0
        return stale

    def _age_s(self) -> float:
        """How long ago the datagram that was read last came; 0 when that is not known."""
        with suppress(OSError):
            fcntl.ioctl(self._fd, _SIOCGSTAMPNS, self._stamp)
            seconds, nanoseconds = _TIMESPEC.unpack(self._stamp)
            age_s: float = time.time() - seconds - nanoseconds / 1e9
            return age_s
        return 0.0
