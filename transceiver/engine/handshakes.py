"""Datagrams of DTLS handshakes wait here, and what else is no sound, so that the media goes first.

A flight costs up to 0.6 ms (measured: key agreement, signature and the peer's certificate), as much
as the sound of fifty packets. So a burst of new calls is worked off a few datagrams a wake-up, one
call after another: whoever sends many waits behind those who send few.

A connected call's RTCP and data channels go the same way: a caller who sends thousands of the
dearest a second is worked off a few a wake-up, too.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

# An honest flight is at most four datagrams; a repetition may lie behind it.
MAX_WAITING_PER_CALL = 12
MAX_WAITING_OF_CONNECTED = 128  # a page's message of 128 KB comes in one go
MAX_WAITING = 4096  # about two seconds of work
MAX_DATAGRAMS_PER_TURN = 2  # 1.2 ms at worst, before media has its turn again

Key = TypeVar("Key", bound=Hashable)


class HandshakeQueue(Generic[Key]):
    """Datagrams by call, fetched round robin. Full means that a new datagram is refused."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Key, deque[tuple[bytes, bytes]]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(
        self, call: Key, address: bytes, packet: bytes, most: int = MAX_WAITING_PER_CALL
    ) -> bool:
        """Keep a datagram; False at a bound (`most` of the call, `MAX_WAITING` in all)."""
        queue = self._waiting.get(call)
        full = queue is not None and len(queue) >= most
        if full or self._size >= MAX_WAITING:
            return False
        if queue is None:
            queue = self._waiting[call] = deque()
        queue.append((address, packet))
        self._size += 1
        return True

    def take(self) -> tuple[Key, bytes, bytes] | None:
        """The next datagram: call, address, packet; None when nothing waits."""
        if not self._waiting:
            return None
        call, queue = self._waiting.popitem(last=False)
        address, packet = queue.popleft()
        self._size -= 1
        if queue:
            self._waiting[call] = queue  # behind all others
        return call, address, packet

    def forget(self, call: Key) -> list[tuple[bytes, bytes]]:
        """What waits for a call, address and packet, is here no longer."""
        gone = list(self._waiting.pop(call, ()))
        self._size -= len(gone)
        return gone
