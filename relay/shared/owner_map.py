"""A map from a name to the process that owns it now, in memory that several processes read.

    head    entries held (8 bytes) · unused (56)
    entry   name (24) · owner (4) · fenced (4) · order (8) · last use in ms (8)

A name is a ufrag, or a client address with six zeros behind it. An owner is a sender number as in
the trunk's header. `order` says which of several words about one name is the newest, also when they
stand in the maps of different workers.

A name may stand in one bucket of 16 entries; where that is full, the entry that was not used for
the longest time gives way. With 20,000 live names one bucket in 10,000 is full. One worker writes a
map. Others read it without a lock: so a name is taken out before its entry is written, stands there
again last, and is looked at again after the entry was read.

An entry costs a search through 768 bytes in C, and nothing is allocated after construction.
"""

from __future__ import annotations

import mmap
import zlib
from typing import NamedTuple

import numpy as np

from datagram.mmsg import U64

ENTRIES = 65_536
WAYS = 16
NAME_BYTES = 24
ENTRY_BYTES = 48
ORDER = 4  # columns of a row of words
OWNER_AND_FENCED = 3
_HEAD_BYTES = 64
_WORDS = ENTRY_BYTES // 8
_BUCKETS = ENTRIES // WAYS
_BUCKET_BYTES = WAYS * ENTRY_BYTES
_USED = 5


class Entry(NamedTuple):
    """Whose a name is, who was lost when it became so (0: nobody), and when that was said."""

    owner: int
    fenced: int
    order: int


class OwnerMap:
    """The map over `SIZE_BYTES` of `buffer` from `at` on; what it holds is kept."""

    SIZE_BYTES = _HEAD_BYTES + ENTRIES * ENTRY_BYTES

    def __init__(self, buffer: mmap.mmap | bytearray, at: int = 0) -> None:
        self._buffer = buffer
        self._entries_at = at + _HEAD_BYTES
        octets = memoryview(buffer)[at : at + self.SIZE_BYTES]
        self._head = octets[:_HEAD_BYTES].cast("Q")
        self._words = octets[_HEAD_BYTES:].cast("Q")
        self._halves = octets[_HEAD_BYTES:].cast("I")
        self._rows: U64 = np.frombuffer(octets[_HEAD_BYTES:], np.uint64).reshape(-1, _WORDS)

    def __len__(self) -> int:
        return self._head[0]

    def find(self, name: bytes) -> Entry | None:
        """What is known of a name of 24 bytes."""
        row = self._row(name)
        if row is None:
            return None
        halves = row * 2 * _WORDS + 2 * OWNER_AND_FENCED
        entry = Entry(self._halves[halves], self._halves[halves + 1], self._order(row))
        return entry if self._stands_at(row, name) else None

    def used_ms(self, name: bytes) -> int:
        """When a name was put or touched last, by its writer's monotonic clock; 0: never."""
        row = self._row(name)
        return 0 if row is None else self._words[row * _WORDS + _USED]

    def touch(self, name: bytes, now_ms: int) -> None:
        """The name was used now. Only for whoever writes the map."""
        row = self._row(name)
        if row is not None:
            self._words[row * _WORDS + _USED] = now_ms

    def put(self, name: bytes, entry: Entry, now_ms: int) -> None:
        """Give the name to an owner. Only for whoever writes the map."""
        row = self._row(name)
        if row is None:
            row = self._free_row(name)
            self._write(row, entry, now_ms)
            start = self._entries_at + row * ENTRY_BYTES
            self._buffer[start : start + NAME_BYTES] = name
        else:
            self._write(row, entry, now_ms)

    def since(self, order: int) -> U64:
        """A copy of the entries with a higher order: n rows of 6 words."""
        return self._rows[self._rows[:, ORDER] > np.uint64(order)]

    def _write(self, row: int, entry: Entry, now_ms: int) -> None:
        halves = row * 2 * _WORDS + 2 * OWNER_AND_FENCED
        self._halves[halves], self._halves[halves + 1] = entry.owner, entry.fenced
        self._words[row * _WORDS + ORDER] = entry.order
        self._words[row * _WORDS + _USED] = now_ms

    def _row(self, name: bytes) -> int | None:
        start = self._entries_at + self._bucket(name) * ENTRY_BYTES
        end = start + _BUCKET_BYTES
        found = self._buffer.find(name, start, end)
        while found >= 0 and (found - start) % ENTRY_BYTES:
            found = self._buffer.find(name, found + 1, end)
        return (found - self._entries_at) // ENTRY_BYTES if found >= 0 else None

    def _free_row(self, name: bytes) -> int:
        """The row of the bucket that is free, or was not used for the longest time; emptied."""
        first = self._bucket(name)
        row = min(range(first, first + WAYS), key=self._last_use)
        self._head[0] += self._order(row) == 0
        for word in range(3):
            self._words[row * _WORDS + word] = 0
        return row

    def _last_use(self, row: int) -> int:
        return self._words[row * _WORDS + _USED]

    def _order(self, row: int) -> int:
        return self._words[row * _WORDS + ORDER]

    def _stands_at(self, row: int, name: bytes) -> bool:
        start = self._entries_at + row * ENTRY_BYTES
        return self._buffer[start : start + NAME_BYTES] == name

    @staticmethod
    def _bucket(name: bytes) -> int:
        """First row of the bucket. A ufrag has a keyed MAC in it: nobody chooses its bucket."""
        return zlib.crc32(name) % _BUCKETS * WAYS
