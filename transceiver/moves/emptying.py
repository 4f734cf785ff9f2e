"""Moves the calls of a process that drains to others, until none is left that can move.

A few at a time: each is silent for some milliseconds while it moves, and on one event loop the
silences of those that move together add up. A call that nobody takes now, or that is not connected
yet, is tried again; whoever ends the process has a deadline for what is left.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable

import structlog

from fleet.directory.directory import Node
from fleet.errors import StoreUnavailable
from transceiver.engine.engine import Engine
from transceiver.moves.outgoing import Outcome, Outgoing
from transceiver.moves.targets import candidates, in_order

AT_ONCE = 2
LOOK_S = 0.1  # how long after a drain began, or a call connected, it is seen
RETRY_S = 1.0  # for calls that nobody took
KNOW_S = 5.0  # how often the nodes are asked for, so that a drain without the store knows some

Nodes = Callable[[], Awaitable[Iterable[Node]]]

log = structlog.get_logger(__name__)


class Emptying:
    """`drains` says whether the calls are to go; `own` is the node's index."""

    def __init__(
        self,
        engine: Engine,
        outgoing: Outgoing,
        nodes: Nodes,
        own: Callable[[], int],
        drains: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._outgoing = outgoing
        self._nodes = nodes
        self._own = own
        self._drains = drains
        self._known: list[Node] = []

    async def run(self) -> None:
        """Empty the process whenever it drains, until cancelled."""
        looks = itertools.count()
        while True:
            if next(looks) % round(KNOW_S / LOOK_S) == 0:
                await self._ask()
            await asyncio.sleep(LOOK_S)
            if self._drains() and self._engine.calls():
                moved = await self.round()
                if not moved:
                    await asyncio.sleep(RETRY_S)

    async def round(self) -> int:
        """Try each call once; how many have moved."""
        targets = candidates(await self._directory(), self._own())
        movable = [call.call_id for call in self._engine.calls() if call.movable]
        if not targets or not movable:
            return 0
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(call_id: str) -> bool:
            async with turns:
                return self._drains() and await self.place(call_id, targets)

        moved = sum(await asyncio.gather(*map(one, movable)))
        log.info("calls_moved_away", moved=moved, left=len(self._engine.calls()))
        return moved

    async def place(self, call_id: str, targets: Iterable[Node]) -> bool:
        """Move a call to one of the nodes; whether it went."""
        for node in in_order(targets):
            try:
                outcome = await self._outgoing.move(call_id, node)
            except KeyError:  # it has ended
                return False
            if outcome is Outcome.MOVED or not outcome.stays:
                return outcome is Outcome.MOVED
        return False

    async def _directory(self) -> list[Node]:
        """As it is, or as it was when the store last answered: a drain needs no store."""
        if not await self._ask():
            log.warning("drain_without_store", nodes=len(self._known))
        return self._known

    async def _ask(self) -> bool:
        try:
            self._known = list(await self._nodes())
        except StoreUnavailable:
            return False
        return True
