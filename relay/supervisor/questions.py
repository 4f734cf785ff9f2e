"""Asks the store who owns addresses that no worker knows. Packets wait for the answer."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fleet.errors import StoreUnavailable
from fleet.outages import OutageCounter
from fleet.redis_link import CONNECT_TIMEOUT_S
from relay.shared.nodes import FlowOwner
from relay.shared.recovery_messages import ADDRESSES_PER_MESSAGE
from relay.supervisor.flow_store import ANSWER_TIMEOUT_S, FlowStore
from relay.supervisor.store_counts import StoreCounts
from wire.address import ADDRESS_BYTES

MAX_WAITING = 20_000  # addresses; a relay that was just replaced asks for all its callers

Reply = Callable[[dict[bytes, FlowOwner | None]], None]


class Questions:
    """A bounded queue of addresses and one reader at a time.

    While the store is away nothing is asked and nothing answered: the workers let their parked
    packets expire, and STUN brings the flows back. The first question after a pause tries again.
    """

    def __init__(
        self,
        store: FlowStore,
        counts: StoreCounts,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
        max_waiting: int = MAX_WAITING,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._counts = counts
        self._timeout_s = timeout_s
        self._max_waiting = max_waiting
        self._pause = pause
        self._waiting: deque[tuple[bytes, Reply]] = deque()
        self._some = asyncio.Event()
        self._outages = OutageCounter("flow_questions")
        self._pausing = False

    def ask(self, addresses: list[bytes], reply: Reply) -> None:
        """Have `reply` called with the owner of each (None: nobody), in one or more calls."""
        self._counts.flow_store_questions += len(addresses)
        room = 0 if self._pausing else self._max_waiting - len(self._waiting)
        self._counts.flow_store_refused += max(0, len(addresses) - room)
        self._waiting.extend((address, reply) for address in addresses[:room])
        if self._waiting:
            self._some.set()

    async def run(self) -> None:
        """Ask and reply until cancelled."""
        await self._connect()
        while True:
            await self._some.wait()
            await self._ask_next()
            if self._outages.failures:
                await self._sit_out()
            if not self._waiting:
                self._some.clear()

    async def _connect(self) -> None:
        """So that the next question finds a connection: making one can take longer than it may."""
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._store.get([bytes(ADDRESS_BYTES)])

    async def _ask_next(self) -> None:
        """One batch: addresses of one asker that stand in a row."""
        reply = self._waiting[0][1]
        row = itertools.takewhile(lambda item: item[1] == reply, self._waiting)
        batch = [address for address, _ in itertools.islice(row, ADDRESSES_PER_MESSAGE)]
        for _ in batch:
            self._waiting.popleft()
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._store.get(batch)
        except (StoreUnavailable, TimeoutError) as error:
            self._counts.flow_store_unanswered += len(batch)
            self._outages.failed(error)
            return
        self._outages.answered()
        self._counts.flow_store_found += len(found)
        self._counts.flow_store_unknown += len(batch) - len(found)
        reply({address: found.get(address) for address in batch})

    async def _sit_out(self) -> None:
        self._counts.flow_store_refused += len(self._waiting)
        self._waiting.clear()
        self._pausing = True
        try:
            await self._pause(self._outages.pause_s)
            await self._connect()
        finally:
            self._pausing = False
