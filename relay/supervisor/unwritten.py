"""Finds the flows of a worker's table that the store does not have yet, by comparison.

For every slot it keeps what was written last, and when. What differs from the table must still be
written. So there is no queue that can overflow, the newest owner wins, an outage of the store piles
up nothing, and the worker neither sends nor waits. A flow that was seen since its entry was written
is written again after `refresh_ms`. One that was not seen expires in the store.

Pure: a table and `now` in, values out. The table may be another process's shared memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from relay.shared.flows import FlowTable, Slots
from relay.shared.nodes import FlowOwner

SLICE_SLOTS = 65_536  # looked at in one go: some 100 µs


@dataclass(frozen=True)
class Due:
    """Flows to write, and the slots they stand in."""

    flows: dict[bytes, FlowOwner]
    slots: Slots


class Unwritten:
    """Compares one table with what was written of it."""

    def __init__(self, table: FlowTable, refresh_ms: int, slice_slots: int = SLICE_SLOTS) -> None:
        self._table = table
        self._refresh_ms = refresh_ms
        self._slice_slots = slice_slots
        self._tags = np.zeros(table.slot_count, np.uint32)
        self._nodes = np.zeros(table.slot_count, np.uint16)
        self._epochs = np.zeros(table.slot_count, np.uint16)
        self._written = np.zeros(table.slot_count, np.uint32)  # ms modulo 2^32, as the table's
        self._from = 0

    @property
    def slices(self) -> int:
        """How many calls of `due` go through the whole table."""
        return -(-self._table.slot_count // self._slice_slots)

    def due(self, now_ms: int, limit: int) -> Due:
        """Up to `limit` flows of the next slice. After a full answer the slice stays the same."""
        start = self._from
        stop = min(start + self._slice_slots, self._table.slot_count)
        tags, nodes, epochs, seen = self._table.columns(start, stop)
        part = slice(start, stop)
        changed = (
            (tags != self._tags[part])
            | (nodes != self._nodes[part])
            | (epochs != self._epochs[part])
        )
        self._tags[part][tags == 0] = 0  # made anew, it must be written anew
        now = np.uint32(now_ms & 0xFFFFFFFF)
        aged = (now - self._written[part]).view(np.int32) >= self._refresh_ms
        used = (seen - self._written[part]).view(np.int32) > 0
        wanted = (tags != 0) & (changed | (aged & used))
        slots = wanted.nonzero()[0][:limit] + start
        if slots.size < limit:
            self._from = stop % self._table.slot_count
        return self._read(slots, now)

    def forget(self) -> None:
        """The store may have lost everything: all of it is to be written again."""
        self._tags[:] = 0

    def _read(self, slots: Slots, now: np.uint32) -> Due:
        whole = self._table.columns(0, self._table.slot_count)
        tags = whole.tags[slots]
        nodes, epochs = self._table.owners(slots)
        addresses = self._table.addresses(slots)
        # What changed while it was read differs from this again, and so comes again.
        self._tags[slots], self._nodes[slots], self._epochs[slots] = tags, nodes, epochs
        self._written[slots] = now
        owners = map(FlowOwner, nodes.tolist(), epochs.tolist())
        unchanged = (whole.tags[slots] == tags).tolist()
        flows = zip(addresses, owners, unchanged, strict=True)
        return Due({address: owner for address, owner, same in flows if same}, slots)

    def failed(self, due: Due) -> None:
        """These were not written after all."""
        self._tags[due.slots] = 0
