"""How a process with live calls leaves: they have their time, then they are told and ended."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from fleet.directory.memory_store import MemoryStore
from fleet.errors import StoreUnavailable
from transceiver.node import NodeKeeper
from transceiver.pod.leaving import leave
from trunkline.process.address import Address
from wire.token import Route


class Leaver:
    """An engine with some calls, of which nobody but the test ends any."""

    def __init__(self, calls: int) -> None:
        self.route = Route(5, 0, 0)
        self._draining = False
        self.dismissed = 0
        self.max_calls = 10
        self.between = SimpleNamespace(gone=0)
        self.told = asyncio.Event()
        self._calls = calls
        self._idle = asyncio.Event()
        self.end(0)

    @property
    def draining(self) -> bool:
        return self._draining

    @draining.setter
    def draining(self, draining: bool) -> None:
        self._draining = draining
        if draining:
            self.told.set()

    def calls(self) -> list[int]:
        return list(range(self._calls))

    def end(self, count: int) -> None:
        """Some calls end by themselves."""
        self._calls -= count
        if not self._calls:
            self._idle.set()

    def dismiss_all(self, reason: str) -> int:
        assert reason == "drained"
        self.dismissed = self._calls
        self.end(self._calls)
        return self.dismissed

    async def idle(self) -> None:
        await self._idle.wait()


class Away(MemoryStore):
    """A store that takes the lease and then answers nothing."""

    async def renew(self, lease: object, **others: object) -> None:
        await asyncio.Event().wait()


async def leaving(
    engine: Leaver, deadline_s: float, store: MemoryStore | None = None
) -> tuple[NodeKeeper, asyncio.Event, asyncio.Task[None]]:
    keeper = NodeKeeper(store or MemoryStore(), "n", Address("127.0.0.1", 4000), engine, 5)
    await keeper.claim()
    stop = asyncio.Event()
    stop.set()
    task = asyncio.create_task(leave(keeper, engine, deadline_s, stop))  # type: ignore[arg-type]
    await engine.told.wait()  # before anything was asked of the store
    return keeper, stop, task


async def test_it_waits_for_the_last_call() -> None:
    """No new calls and a directory that says so, but those that are there end by themselves."""
    engine = Leaver(2)
    keeper, _, task = await leaving(engine, 3600)
    assert not keeper.ready
    engine.end(1)
    assert not task.done()
    engine.end(1)
    await task
    assert engine.dismissed == 0
    assert keeper.tenancy.leaving


async def test_at_the_deadline_calls_are_told_and_ended() -> None:
    """None has longer than the setting says; 0 means now."""
    engine = Leaver(3)
    _, _, task = await leaving(engine, 0)
    await task
    assert engine.dismissed == 3


async def test_a_second_signal_ends_the_waiting() -> None:
    """Who means it need not kill, and callers are told all the same."""
    engine = Leaver(3)
    _, stop, task = await leaving(engine, 3600)
    stop.set()
    await task
    assert engine.dismissed == 3


async def test_a_store_that_does_not_answer_holds_nobody_up() -> None:
    """The deadline is the callers', not the store's."""
    engine = Leaver(1)
    _, stop, task = await leaving(engine, 3600, Away())
    stop.set()
    await task
    assert engine.dismissed == 1


async def test_a_drain_can_be_taken_back() -> None:
    """The node takes calls again and says so in the directory."""
    store, engine = MemoryStore(), Leaver(1)
    keeper = NodeKeeper(store, "n", Address("127.0.0.1", 4000), engine, 5)
    await keeper.claim()
    await keeper.drain(None)
    assert [node.draining for node in (await store.snapshot()).nodes] == [True]
    await keeper.undrain()
    assert keeper.ready
    assert [node.draining for node in (await store.snapshot()).nodes] == [False]


async def test_without_a_lease_taking_a_drain_back_waits_for_one() -> None:
    """Nobody could route to a process without a lease, so it takes no calls before."""

    class Gone(MemoryStore):
        async def claim(self, *_about: object) -> object:  # type: ignore[override]
            raise StoreUnavailable("away")

    engine = Leaver(0)
    keeper = NodeKeeper(Gone(), "n", Address("127.0.0.1", 4000), engine, 5)  # type: ignore[arg-type]
    engine.draining = True
    await keeper.undrain()
    assert engine.draining
    assert not keeper.ready
