"""What claims say, as a worker's memory holds it for itself and for its neighbours.

Each worker writes its own two maps, by ufrag and by client address, and reads those of all others.
So there is no lock, a worker that was just started finds what the one before it knew, and a relay
that takes over from another reads its claims as it reads its flows.

`Turns` says whether a worker is at work. What it read before a claim was carried out may still
leave while its turn lasts, and not after it.
"""

from __future__ import annotations

import mmap

from relay.shared.owner_map import NAME_BYTES, OwnerMap

_HEAD_BYTES = 64  # the newest order


class ClaimMaps:
    """The two maps over `SIZE_BYTES` of `buffer` from `at` on; what they hold is kept."""

    SIZE_BYTES = _HEAD_BYTES + 2 * OwnerMap.SIZE_BYTES

    def __init__(self, buffer: mmap.mmap | bytearray, at: int = 0) -> None:
        self._newest = memoryview(buffer)[at : at + 8].cast("Q")
        self.by_ufrag = OwnerMap(buffer, at + _HEAD_BYTES)
        self.by_address = OwnerMap(buffer, at + _HEAD_BYTES + OwnerMap.SIZE_BYTES)

    @property
    def newest(self) -> int:
        """The highest order of what was claimed here so far; 0 before the first claim."""
        return self._newest[0]

    def announce(self, order: int) -> None:
        """Something of this order stands here now: the others follow. Orders rise."""
        self._newest[0] = order


class Turns:
    """The number of a worker's turn in one word of its memory: odd while it is at work."""

    def __init__(self, word: memoryview) -> None:
        self._word = word

    @property
    def current(self) -> int:
        """The number now; the turn is over when it has changed."""
        return self._word[0]

    def begin(self) -> None:
        """The worker wakes up. One that was killed at work has left an odd number behind."""
        self._word[0] = (self._word[0] + 1) | 1

    def end(self) -> None:
        """The worker has sent what it had in its hands."""
        self._word[0] += 1


def is_at_work(turn: int) -> bool:
    """Whether a number read from `Turns` is that of a turn that was under way."""
    return turn % 2 == 1


def ufrag_name(ufrag: str) -> bytes:
    """The name of a ufrag in a map. A client may change its case (`wire.crockford`)."""
    return ufrag.upper().encode()


def address_name(address: bytes) -> bytes:
    """The name of an 18-byte client address in a map."""
    return address.ljust(NAME_BYTES, b"\0")
