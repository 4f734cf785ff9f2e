"""A stand-in for Redis that goes away, hangs and forgets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from enum import Enum

from fleet.errors import StoreUnavailable
from relay.shared.nodes import FlowOwner
from relay.supervisor.flow_store import MemoryFlowStore

_MOST_LATENCY_S = 0.02


class State(Enum):
    """How it answers."""

    UP = "up"
    AWAY = "away"  # connections are refused
    HANGS = "hangs"  # commands are taken and never answered


class VanishingStore(MemoryFlowStore):
    """A `FlowStore` whose `state` may change at any time. `broken_s` is when it last did harm."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(now=lambda: asyncio.get_running_loop().time())
        self._chance = chance
        self._state = State.UP
        self._broken_s = -1.0

    @property
    def broken_s(self) -> float:
        """When it was last not whole; the present while it is not."""
        return self._broken_s if self._state is State.UP else asyncio.get_running_loop().time()

    def become(self, state: State) -> None:
        """Answer this way from now on."""
        self._broken_s = asyncio.get_running_loop().time()
        self._state = state

    def forget(self) -> None:
        """Lose everything, as a restart without persistence does."""
        self._entries.clear()
        self._broken_s = asyncio.get_running_loop().time()

    async def put(self, flows: Mapping[bytes, FlowOwner], ttl_s: int) -> None:
        """As `FlowStore.put`."""
        await self._travel()
        await super().put(flows, ttl_s)

    async def get(self, addresses: Sequence[bytes]) -> dict[bytes, FlowOwner]:
        """As `FlowStore.get`."""
        await self._travel()
        return await super().get(addresses)

    async def _travel(self) -> None:
        await asyncio.sleep(self._chance.uniform(0, _MOST_LATENCY_S))
        if self._state is State.AWAY:
            raise StoreUnavailable("the store is away")
        if self._state is State.HANGS:
            await asyncio.Event().wait()
