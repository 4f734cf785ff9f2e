"""The flow table says which transceiver owns a client address.

A set-associative hash table laid out as plain arrays over one buffer, because
- a batch of packets is looked up with a few array operations, not packet by packet;
- the buffer may be shared memory: a respawned worker finds the flows its predecessor learned,
  siblings and the supervisor read them without asking;
- nothing is allocated after construction: 32 bytes a slot, 8 slots a bucket.

An address may stand in one of two buckets (power of two choices). At the design load of at most 2/3
both are so rarely full that the flow that was idle for the longest time may simply be evicted; this
is counted. The hash is keyed with random words from the head of the buffer, so somebody who chooses
addresses cannot choose buckets.

Times are milliseconds of a monotonic clock, kept modulo 2^32 and compared as differences.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wire.address import ADDRESS_BYTES

U64 = npt.NDArray[np.uint64]
Slots = npt.NDArray[np.int64]

WAYS = 8
SLOT_BYTES = 32
_HEAD_BYTES = 64  # four random words that key the hash, then the live count
_MAX_LOAD = 2 / 3
_SPARE_WAYS = 5  # with 3 one table in eight had to evict on the way to its capacity
_MISSING = -1
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


class Put(Enum):
    """What `put` did."""

    MADE = "made"
    MOVED = "moved"  # the address was another node's
    KEPT = "kept"
    EVICTED = "evicted"  # made, and another flow had to go
    FULL = "full"  # not made: the table holds its capacity


@dataclass(frozen=True)
class FlowRow:
    """One flow, for listing: 18-byte address, node index and epoch, ms since its last packet."""

    address: bytes = field(repr=False)
    node: int
    epoch: int
    idle_ms: int
    slot: int


class _Columns(NamedTuple):
    """A table's columns as memory views."""

    high: memoryview
    low: memoryview
    tags: memoryview
    seen: memoryview
    ports: memoryview
    nodes: memoryview
    epochs: memoryview


class Columns(NamedTuple):
    """Some slots of a table: tag (0: free), node index, epoch, last packet (ms modulo 2^32)."""

    tags: npt.NDArray[np.uint32]
    nodes: npt.NDArray[np.uint16]
    epochs: npt.NDArray[np.uint16]
    seen: npt.NDArray[np.uint32]


class FlowTable:
    """Flows by client address. `capacity` bounds live flows."""

    def __init__(self, buffer: memoryview, capacity: int) -> None:
        """Lay the table over `buffer`, `size_bytes(capacity)` long; what it holds is kept."""
        self.capacity = capacity
        slots = _slot_count(capacity)
        octets = np.frombuffer(buffer, np.uint8, count=self.size_bytes(capacity))
        # Widest columns first, so that each starts aligned.
        head, addresses, tags, seen, ports, nodes, epochs, _ = np.split(
            octets, np.cumsum([_HEAD_BYTES, *(width * slots for width in (16, 4, 4, 2, 2, 2))])
        )
        words = head.view(np.uint64)
        if not words[0]:
            words[:4] = np.frombuffer(os.urandom(32), np.uint64) | np.uint64(1)
        self._keys = words[:4].copy()
        self._live = words[4:5]
        self._high, self._low = addresses.view(np.uint64).reshape(2, slots)
        self._tags = tags.view(np.uint32)  # 0: the slot is free
        self._seen = seen.view(np.uint32)
        self._ports = ports.view(np.uint16)
        self._nodes = nodes.view(np.uint16)
        self._epochs = epochs.view(np.uint16)
        # The same columns for one flow at a time: indexing these is ten times cheaper.
        self._one = _Columns(
            *(
                c.data
                for c in (
                    self._high,
                    self._low,
                    self._tags,
                    self._seen,
                    self._ports,
                    self._nodes,
                    self._epochs,
                )
            )
        )
        self._buckets = self._tags.reshape(-1, WAYS)
        self._mask = np.uint64(slots // WAYS - 1)
        self._sweep_from = 0

    @staticmethod
    def size_bytes(capacity: int) -> int:
        """Bytes of buffer that a table of this capacity takes."""
        return _HEAD_BYTES + SLOT_BYTES * _slot_count(capacity)

    def __len__(self) -> int:
        return int(self._live[0])

    def hashes(self, addresses: U64, ports: U64) -> U64:
        """Hashes of n addresses (n x 2 words, as in the packet) and n ports (network order)."""
        mixed: U64 = (addresses[:, 0] ^ self._keys[0]) * self._keys[1]
        mixed ^= mixed >> _HALF
        mixed += (addresses[:, 1] ^ self._keys[2]) * self._keys[3]
        mixed ^= mixed >> _HALF
        mixed += ports * self._keys[1]
        mixed *= _MIX
        mixed ^= mixed >> _HALF
        mixed *= _MIX
        return mixed

    def find(self, hashes: U64, addresses: U64, ports: U64) -> Slots:
        """Slots of n addresses, -1 where there is none."""
        tags, first, second = self._places(hashes)
        slots = self._find_in(first, tags)
        missed = (slots < 0).nonzero()[0]
        if missed.size:
            slots[missed] = self._find_in(second[missed], tags[missed])
        # A tag is 32 bits: the whole address decides.
        right = (
            (self._high[slots] == addresses[:, 0])
            & (self._low[slots] == addresses[:, 1])
            & (self._ports[slots] == ports)
        )
        if not right.all():
            for index in (~right & (slots >= 0)).nonzero()[0].tolist():
                slots[index] = self._find_exactly(hashes[index], addresses[index], ports[index])
        return slots

    def touch(self, slots: Slots, now_ms: int) -> None:
        """Note that these flows had a packet now."""
        self._seen[slots] = now_ms & 0xFFFFFFFF

    def owners(self, slots: Slots) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        """Node indexes and epochs of n slots."""
        return self._nodes[slots], self._epochs[slots]

    def idle_ms(self, slots: Slots, now_ms: int) -> npt.NDArray[np.int32]:
        """How long n slots have had no packet."""
        return self._age(self._seen[slots], now_ms)

    def columns(self, start: int, stop: int) -> Columns:
        """The slots from `start` to `stop` as they are; another process may be writing them."""
        part = slice(start, stop)
        return Columns(self._tags[part], self._nodes[part], self._epochs[part], self._seen[part])

    def addresses(self, slots: Slots) -> list[bytes]:
        """The 18-byte addresses of n slots."""
        columns = (self._high, self._low, self._ports)
        octets = [c[slots].view(np.uint8).reshape(slots.size, c.itemsize) for c in columns]
        whole = np.concatenate(octets, axis=1).tobytes()
        return [whole[at : at + ADDRESS_BYTES] for at in range(0, len(whole), ADDRESS_BYTES)]

    def stands_at(self, slot: int, high: int, low: int, port: int) -> bool:
        """Whether that address has this slot (words and port as in `hashes`)."""
        one = self._one
        return bool(
            one.tags[slot]
            and one.ports[slot] == port
            and one.low[slot] == low
            and one.high[slot] == high
        )

    def owner(self, slot: int) -> tuple[int, int]:
        """Node index and epoch of one slot."""
        return self._one.nodes[slot], self._one.epochs[slot]

    def touch_one(self, slot: int, now_ms: int) -> None:
        """`touch` for one slot."""
        self._one.seen[slot] = now_ms & 0xFFFFFFFF

    def put(
        self, hashed: np.uint64, address: U64, port: int, node: int, epoch: int, now_ms: int
    ) -> Put:
        """Give the address to a node. The caller has checked that it may."""
        slot = self._find_exactly(hashed, address, np.uint64(port))
        if slot >= 0:
            same = self._nodes[slot] == node and self._epochs[slot] == epoch
            outcome = Put.KEPT if same else Put.MOVED
        else:
            if self._live[0] >= self.capacity:
                return Put.FULL
            slot, evicted = self._make_room(hashed, now_ms)
            outcome = Put.EVICTED if evicted else Put.MADE
            self._live[0] += np.uint64(not evicted)
            self._high[slot], self._low[slot] = address
            self._ports[slot] = port
        self._nodes[slot], self._epochs[slot] = node, epoch
        self._seen[slot] = now_ms & 0xFFFFFFFF
        # Last, so that a reader in another process never sees a half-written flow.
        tags, _, _ = self._places(np.array([hashed]))
        self._tags[slot] = tags[0]
        return outcome

    def repoint(self, slot: int, node: int, epoch: int) -> bool:
        """Give a flow to another node; whether it had another."""
        if self.owner(slot) == (node, epoch):
            return False
        self._one.nodes[slot], self._one.epochs[slot] = node, epoch
        return True

    def expire(self, now_ms: int, idle_ms: int, max_slots: int) -> int:
        """Forget idle flows in the next `max_slots` slots; returns how many. Call it in a rota."""
        start = self._sweep_from
        stop = min(start + max_slots, self._tags.size)
        self._sweep_from = stop % self._tags.size
        tags, seen = self._tags[start:stop], self._seen[start:stop]
        dead = (tags != 0) & (self._age(seen, now_ms) > idle_ms)
        count = int(np.count_nonzero(dead))
        tags[dead] = 0
        self._live[0] -= np.uint64(count)
        return count

    @property
    def slot_count(self) -> int:
        """Slots in all: what one whole rota of `expire` goes through."""
        return int(self._tags.size)

    def rows(self, start_slot: int, limit: int, now_ms: int) -> tuple[list[FlowRow], int | None]:
        """Up to `limit` flows from `start_slot` on, and the slot to go on from (None: the end)."""
        used = np.flatnonzero(self._tags[start_slot:])[: limit + 1] + start_slot
        slots = used[:limit]
        ages = self._age(self._seen[slots], now_ms)
        rows = [
            FlowRow(
                address=b"".join(c[slot].tobytes() for c in (self._high, self._low, self._ports)),
                node=int(self._nodes[slot]),
                epoch=int(self._epochs[slot]),
                idle_ms=max(0, int(age)),
                slot=int(slot),
            )
            for slot, age in zip(slots, ages, strict=True)
        ]
        return rows, int(used[limit]) if used.size > limit else None

    def _places(self, hashes: U64) -> tuple[npt.NDArray[np.uint32], U64, U64]:
        tags = (hashes >> _HALF).astype(np.uint32) | np.uint32(1)
        first = hashes & self._mask
        second = first ^ (tags * np.uint64(0x5BD1E995) >> np.uint64(7) & self._mask)
        return tags, first, second

    def _find_in(self, buckets: U64, tags: npt.NDArray[np.uint32]) -> Slots:
        """Slots with these tags in these buckets; -1 where none matches."""
        matches = self._buckets[buckets] == tags[:, None]
        slots: Slots = buckets.astype(np.int64) * WAYS + matches.argmax(axis=1)
        # argmax of a row without a match is 0: look at the tag found.
        slots[self._tags[slots] != tags] = _MISSING
        return slots

    def _find_exactly(self, hashed: np.uint64, address: U64, port: np.uint64) -> int:
        tags, first, second = self._places(np.array([hashed]))
        for bucket in (int(first[0]), int(second[0])):
            for slot in range(bucket * WAYS, bucket * WAYS + WAYS):
                if (
                    self._tags[slot] == tags[0]
                    and self._ports[slot] == port
                    and self._high[slot] == address[0]
                    and self._low[slot] == address[1]
                ):
                    return slot
        return _MISSING

    def _make_room(self, hashed: np.uint64, now_ms: int) -> tuple[int, bool]:
        """A free slot for the hash, or the one idle longest of its sixteen."""
        _, first, second = self._places(np.array([hashed]))
        free_ways = [np.flatnonzero(self._buckets[b[0]] == 0) for b in (first, second)]
        # The first bucket is found first, so it is preferred while it has room to spare; beyond
        # that the emptier of the two, which keeps both from filling up.
        use_first = free_ways[0].size >= min(_SPARE_WAYS, free_ways[1].size)
        bucket, free = (first, free_ways[0]) if use_first else (second, free_ways[1])
        if free.size:
            return int(bucket[0]) * WAYS + int(free[0]), False
        both = np.concatenate((first, second)).astype(np.int64)
        choices = (both[:, None] * WAYS + np.arange(WAYS)).reshape(-1)
        return int(choices[self._age(self._seen[choices], now_ms).argmax()]), True

    @staticmethod
    def _age(seen: npt.NDArray[np.uint32], now_ms: int) -> npt.NDArray[np.int32]:
        return (np.uint32(now_ms & 0xFFFFFFFF) - seen).view(np.int32)


def _slot_count(capacity: int) -> int:
    buckets = 1
    while buckets * WAYS * _MAX_LOAD < capacity:
        buckets *= 2
    return buckets * WAYS
