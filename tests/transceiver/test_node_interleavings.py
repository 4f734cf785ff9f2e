"""A node through every order of heartbeats, lost leases, drains, deadlines and late answers.

The real keeper is driven event by event against a store that answers when and as the search says.
From every state that can be reached every event is tried, so nothing is left to chance.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleet.directory.store import Lease
from fleet.errors import LeaseLost, StoreUnavailable
from transceiver.node import NodeKeeper
from trunkline.process.address import Address
from wire.token import Route

TRUNK = Address("127.0.0.1", 4000)
CLUSTER = 5
DEADLINE_S = 3600.0
MAX_WAITING = 3  # heartbeats and operators that wait for each other
ANSWERS = ("ok", "fails", "done but not said")
EVENTS = (
    *("beat", "drain", "drain until", "undrain", "leave", "deadline", "close"),
    *("stolen", "forgotten", *ANSWERS),
)


class ScriptedStore:
    """One index, and at most one question on its way, which the search answers."""

    def __init__(self) -> None:
        self.held: Lease | str = ""  # "" for nobody, or somebody else's name
        self.draining = False
        self.epoch = 0
        self.asked: asyncio.Future[str] | None = None
        self.question = ""

    async def claim(self, name: str, trunk: Address, *_: object) -> Lease:
        answer = await self._ask("claim")
        if answer == "fails":
            raise StoreUnavailable("away")
        self.epoch += 1
        self.held, self.draining = Lease(0, self.epoch, name, trunk, "token"), False
        return self._said(answer, self.held)

    async def renew(self, lease: Lease, *, draining: bool = False, load: object = None) -> None:
        answer = await self._ask(f"renew {draining}")
        if answer == "fails":
            raise StoreUnavailable("away")
        if self.held and self.held is not lease:
            raise LeaseLost
        self.held, self.draining = lease, draining
        self._said(answer, None)

    async def release(self, lease: Lease) -> None:
        answer = await self._ask("release")
        if answer != "fails" and self.held is lease:
            self.held = ""
        self._said("ok" if answer == "ok" else "done but not said", None)

    async def _ask(self, question: str) -> str:
        assert self.asked is None, "two questions at once"
        self.asked, self.question = asyncio.get_running_loop().create_future(), question
        try:
            return await self.asked
        finally:
            self.asked, self.question = None, ""

    @staticmethod
    def _said(answer: str, value: Any) -> Any:
        if answer == "done but not said":
            raise StoreUnavailable("the answer was lost")
        return value


class Routed:
    """The engine as the node sees it."""

    def __init__(self) -> None:
        self.route = Route(CLUSTER, 0, 0)
        self.draining = False
        self.max_calls = 10
        self.dismissed = 0

    def calls(self) -> list[object]:
        return []

    def dismiss_all(self, reason: str) -> int:
        assert reason == "drained"
        self.dismissed += 1
        return 0


class World:
    """A keeper, its store, and what is right according to the events so far."""

    def __init__(self) -> None:
        self.store, self.engine = ScriptedStore(), Routed()
        self.keeper = NodeKeeper(self.store, "n", TRUNK, self.engine, CLUSTER)  # type: ignore[arg-type]
        self.tasks: list[asyncio.Task[Any]] = []
        self.timers: list[asyncio.TimerHandle] = []
        self.wants_drain = self.leaving = self.closed = False
        self.deadline = False
        self.dismissals = 0
        self.epochs_lost: set[int] = set()

    async def begin(self) -> None:
        self.keeper._become(self.keeper.tenancy)
        self.start(self.keeper.claim())
        await self.settle()
        await self.do("ok")

    def start(self, work: Any) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    async def settle(self) -> None:
        """Let everything run that can."""
        for _ in range(12):
            await asyncio.sleep(0)
        self.tasks = [task for task in self.tasks if not _ended(task)]

    def possible(self, event: str) -> bool:
        if event in ANSWERS:
            return self.store.asked is not None
        if self.closed or (self.leaving and event == "leave"):
            return event == "deadline"
        starts = event in {"beat", "drain", "drain until", "undrain", "leave", "close"}
        return not starts or len(self.tasks) < MAX_WAITING

    async def do(self, event: str) -> None:
        before = self.keeper.lease
        self._happen(event)
        await self.settle()
        if before is not None and before is not self.keeper.lease and not self.closed:
            self.epochs_lost.add(before.epoch)

    def _happen(self, event: str) -> None:
        keeper, store = self.keeper, self.store
        if event in ANSWERS:
            assert store.asked
            store.asked.set_result(event)
        elif event == "beat":
            self.start(keeper.beat())
        elif event in {"drain", "drain until"}:
            if not self.leaving:
                self.wants_drain, self.deadline = True, event == "drain until"
            self.start(keeper.drain(DEADLINE_S if event == "drain until" else None))
        elif event == "undrain":
            if not self.leaving:
                self.wants_drain = self.deadline = False
            self.start(keeper.undrain())
        elif event == "leave":
            self.wants_drain, self.leaving, self.deadline = True, True, False
            keeper.begin_leaving()
            self.start(keeper.beat())
        elif event == "close":
            self.wants_drain, self.leaving, self.deadline, self.closed = True, True, False, True
            self.start(keeper.close())
        elif event == "deadline":
            self.dismissals += self.deadline
            self.deadline = False
            for timer in self.armed():
                timer._run()
                timer.cancel()
        elif event == "stolen":
            store.held = "rival"
        elif event == "forgotten":
            store.held = ""

    def armed(self) -> list[asyncio.TimerHandle]:
        return [timer for timer in self.timers if not timer.cancelled()]

    def check(self) -> None:
        """What holds at every moment, whoever has answered what."""
        lease = self.keeper.lease
        assert self.engine.draining == (self.wants_drain or lease is None or self.closed)
        assert self.keeper.ready == (not self.engine.draining)
        if self.keeper.ready:
            assert lease
            assert self.engine.route == Route(CLUSTER, lease.index, lease.epoch)
        assert len(self.armed()) == self.deadline
        assert self.engine.dismissed == self.dismissals
        assert lease is None or lease.epoch not in self.epochs_lost

    def key(self) -> tuple[object, ...]:
        """What can make a difference to what comes."""
        lease, held = self.keeper.lease, self.store.held
        return (
            lease is not None,
            "mine" if held is lease else held if isinstance(held, str) else "lost in an answer",
            (self.store.draining, self.store.question, len(self.tasks)),
            (self.wants_drain, self.leaving, self.closed, self.deadline),
            self.keeper.tenancy.told,
        )

    async def heal(self) -> None:
        """The store answers again: one heartbeat later all agree, or all is given back."""
        if not self.closed:
            self.start(self.keeper.beat())
        for _ in range(20):
            await self.settle()
            if self.store.asked is None:
                break
            await self.do("ok")
            self.check()
        assert not self.tasks
        if self.closed:
            assert self.keeper.lease is None
            return
        assert self.keeper.lease is self.store.held
        assert self.store.draining == self.wants_drain == self.keeper.tenancy.told

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with suppress(asyncio.CancelledError, StoreUnavailable):
                await task
        for timer in self.armed():
            timer.cancel()


def _ended(task: asyncio.Task[Any]) -> bool:
    """Whether a task is over; a heartbeat, a drain or a farewell never ends with an error."""
    if task.done():
        task.result()
    return task.done()


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[World]]:
    """The world of now hears of every timer that is set."""
    now: list[World] = []
    arm = NodeKeeper._arm

    def note(keeper: NodeKeeper, ends_s: float | None) -> None:
        arm(keeper, ends_s)
        if keeper._timer is not None:
            now[-1].timers.append(keeper._timer)

    monkeypatch.setattr(NodeKeeper, "_arm", note)
    yield now


async def test_no_order_of_events_breaks_a_node(timers: list[World]) -> None:
    """Never ready with a stale route; no timer outlives its drain; nothing ends the heartbeat; a
    lost lease is followed by a new epoch; and when the store answers, it hears how things are."""
    seen: set[tuple[object, ...]] = set()
    open_ends: deque[tuple[str, ...]] = deque([()])
    tried = 0
    with capture_logs():
        while open_ends:
            path = open_ends.popleft()
            for event in EVENTS:
                world = await _played(path, timers.append)
                if world.possible(event):
                    tried += 1
                    await _step(world, event, path)
                    if world.key() not in seen:
                        seen.add(world.key())
                        open_ends.append((*path, event))
                        await _check_healing(world, (*path, event))
                await world.end()
                timers.clear()
    assert len(seen) > 300  # that many are different; a search that finds few has lost its events
    assert tried > 2000


async def _played(path: tuple[str, ...], begin: Callable[[World], None]) -> World:
    world = World()
    begin(world)
    await world.begin()
    for event in path:
        await world.do(event)
    return world


async def _step(world: World, event: str, path: tuple[str, ...]) -> None:
    try:
        await world.do(event)
        world.check()
    except AssertionError as error:
        raise AssertionError(" → ".join((*path, event))) from error


async def _check_healing(world: World, path: tuple[str, ...]) -> None:
    try:
        await world.heal()
    except AssertionError as error:
        raise AssertionError(" → ".join((*path, "then all is answered"))) from error
