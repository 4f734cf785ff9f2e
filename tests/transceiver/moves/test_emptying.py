"""Whom a drain asks when the store does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import cast

from fleet.directory.directory import Node
from fleet.ending import end
from fleet.errors import StoreUnavailable
from tests.transceiver.moves.test_targets import node
from tests.virtual_time import virtual_loop
from transceiver.engine.engine import Engine
from transceiver.moves.emptying import KNOW_S, LOOK_S, Emptying
from transceiver.moves.outgoing import Outcome, Outgoing


class Call:
    """One that can move."""

    call_id = "rtc_one"
    movable = True


class Scene:
    """An engine with one call, a store that can go away, and who was asked to take the call."""

    def __init__(self) -> None:
        self.live = [Call()]
        self.draining = self.away = False
        self.asked: list[int] = []

    def calls(self) -> Sequence[Call]:
        return self.live

    async def nodes(self) -> Iterable[Node]:
        if self.away:
            raise StoreUnavailable("away")
        return [node(1), node(2)]

    async def move(self, _call_id: str, target: Node) -> Outcome:
        self.asked.append(target.index)
        self.live.clear()
        return Outcome.MOVED

    def emptying(self) -> Emptying:
        engine, outgoing = cast("Engine", self), cast("Outgoing", self)
        return Emptying(engine, outgoing, self.nodes, lambda: 1, lambda: self.draining)


def test_a_drain_needs_no_store() -> None:
    """The nodes of a moment before are asked, though nothing has drained then."""

    async def scene() -> None:
        here = Scene()
        task = asyncio.create_task(here.emptying().run())
        await asyncio.sleep(KNOW_S)
        here.away = here.draining = True
        await asyncio.sleep(3 * LOOK_S)
        assert here.asked == [2]
        await end([task])

    with virtual_loop() as run:
        run(scene())
