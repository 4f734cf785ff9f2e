"""Writes the flows of this relay to the store, soon, and refreshes them while they live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from fleet.errors import StoreUnavailable
from fleet.outages import OutageCounter
from relay.shared.flows import FlowTable
from relay.supervisor.flow_store import FlowStore
from relay.supervisor.store_counts import StoreCounts
from relay.supervisor.unwritten import Unwritten

WRITE_TIMEOUT_S = 1.0
BATCH = 256  # entries a round trip: some 3 ms of this process
ROUND_INTERVAL_S = 0.2  # how late a new flow may reach the store
_SLICES_A_ROUND = 4  # of each table: all of a table of the default size
_BREATH_S = 0.005  # between batches, for all else that the supervisor does
_TTL_MARGIN_S = 15  # an entry outlives its flow here, so that a late refresh loses nothing
_REFRESHES_PER_TTL = 3


class FlowCache:
    """Writes what `tables` (the workers', in shared memory) have and the store has not.

    An outage of the store costs nothing here: what was not written still differs. After one, all
    is written again, because a store that comes back may have lost everything.
    """

    def __init__(
        self,
        store: FlowStore,
        tables: Sequence[FlowTable],
        flow_idle_s: int,
        counts: StoreCounts,
        *,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._ttl_s = flow_idle_s + _TTL_MARGIN_S
        refresh_ms = self._ttl_s * 1000 // _REFRESHES_PER_TTL
        self._unwritten = [Unwritten(table, refresh_ms) for table in tables]
        self._counts = counts
        self._now = now
        self._pause = pause
        self._outages = OutageCounter("flow_cache")

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            complete = all([await self._write_some(table) for table in self._unwritten])
            pause_s = ROUND_INTERVAL_S if complete else _BREATH_S
            await self._pause(self._outages.pause_s or pause_s)

    async def _write_some(self, table: Unwritten) -> bool:
        """Write at most one batch; whether this table has no more for now."""
        for _ in range(min(table.slices, _SLICES_A_ROUND)):
            due = table.due(int(self._now() * 1000), BATCH)
            if not due.slots.size:
                continue
            had_failed = self._outages.failures > 0
            try:
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await self._store.put(due.flows, self._ttl_s)
            except (StoreUnavailable, TimeoutError) as error:
                table.failed(due)
                self._counts.flow_store_write_failures += 1
                self._outages.failed(error)
                return True
            self._outages.answered()
            self._counts.flow_store_writes += len(due.flows)
            if had_failed:
                for each in self._unwritten:
                    each.forget()
            return due.slots.size < BATCH and not had_failed
        return True
