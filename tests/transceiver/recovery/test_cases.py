"""What comes of a suspicion, with a directory and a store that a test moves by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest

from fleet.calls.owner import Owner
from fleet.directory.directory import Directory, Node, fenced
from fleet.errors import StoreUnavailable
from fleet.suspicion import Cause, Suspicion
from transceiver.counters import Counted
from transceiver.recovery import cases as module
from transceiver.recovery.cases import MAX_CASES, Cases
from transceiver.recovery.rank import LATER_S, WITNESSES, waits_s
from trunkline.process.address import Address

ME = Owner(1, 1)
LOST = Node(17, 3, Address("127.0.0.1", 5000), "lost", http=Address("127.0.0.1", 8080))
SILENT = Suspicion(17, 3, Cause.SILENT)
DIED = Suspicion(17, 3, Cause.DIED)


@dataclass
class World:
    """A witness, a store and a taker in one."""

    directory: Directory = field(default_factory=Directory)
    counters: Counter[str] = field(default_factory=Counter)
    alive: bool = False
    away: int = 0
    asked: int = 0
    suspected: int = 0
    fenced: list[Node] = field(default_factory=list)
    taken: list[Owner] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.directory.apply(LOST)
        self.directory.apply(Node(1, 1, Address("127.0.0.1", 5001), "me"))
        self.hold.set()
        self.cases = Cases(
            *(self.directory, self, self, self),
            *(lambda: ME, lambda reason: self.counters.update([reason]), self.look),
        )

    async def look(self) -> None:
        self.suspected += 1

    async def lives(self, owner: Owner, http: Address) -> bool:
        assert (owner, http) == (Owner(17, 3), LOST.http)
        self.asked += 1
        await self.hold.wait()
        return self.alive

    async def fence(self, node: Node) -> bool:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("away")
        self.fenced.append(node)
        return True

    async def take_share(self, lost: Owner) -> None:
        self.taken.append(lost)

    async def settle(self) -> None:
        while self.cases._open:
            await asyncio.gather(*self.cases._open.values())


@pytest.fixture
async def world() -> World:
    return World()


async def test_one_that_answers_is_left_alone(world: World) -> None:
    """A false alarm is counted, and the next one is looked into again."""
    world.alive = True
    for number in (1, 2):
        world.cases.hear(SILENT)
        await world.settle()
        assert (world.asked, world.counters[Counted.SUSPICIONS_FALSE]) == (number, number)
    assert not world.fenced
    assert not world.taken


async def test_one_that_does_not_answer_is_fenced_and_its_calls_are_taken(world: World) -> None:
    """In that order, and once however often it is suspected meanwhile."""
    world.hold.clear()
    for suspicion in (SILENT, SILENT, DIED):
        world.cases.hear(suspicion)
    await asyncio.sleep(0)
    world.hold.set()
    await world.settle()
    assert (world.asked, world.fenced, world.taken) == (1, [LOST], [Owner(17, 3)])
    assert world.counters[Counted.NODES_FENCED] == 1


async def test_a_death_that_was_seen_needs_no_witness(world: World) -> None:
    """Its parent saw the exit."""
    world.alive = True
    world.cases.hear(DIED)
    await world.settle()
    assert (world.asked, world.fenced, world.taken) == (0, [LOST], [Owner(17, 3)])


async def test_what_others_fenced_is_taken_without_a_question(world: World) -> None:
    """The directory says so."""
    world.directory.apply(fenced(LOST))
    world.cases.hear(SILENT)
    await world.settle()
    assert (world.asked, world.fenced, world.taken) == (0, [], [Owner(17, 3)])


async def test_an_unknown_or_unreachable_process_is_not_fenced(world: World) -> None:
    """Neither one that the directory does not have, nor one that nobody can ask."""
    world.cases.hear(Suspicion(99, 1, Cause.DIED))
    world.directory.apply(Node(18, 1, Address("127.0.0.1", 5002), "no http"))
    world.cases.hear(Suspicion(18, 1, Cause.SILENT))
    await world.settle()
    assert not world.fenced
    assert not world.taken


async def test_a_fence_waits_for_the_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it takes."""
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    world.away = 5
    world.cases.hear(DIED)
    await world.settle()
    assert (world.fenced, world.taken) == ([LOST], [Owner(17, 3)])


async def test_who_is_suspected_itself_looks_whether_it_was_fenced(world: World) -> None:
    """And nothing else."""
    world.cases.hear(Suspicion(1, 1, Cause.SILENT))
    await world.settle()
    assert (world.suspected, world.asked, world.fenced) == (1, 0, [])


async def test_cases_are_bounded(world: World) -> None:
    """More at once than MAX_CASES are counted, and closing leaves no task."""
    world.hold.clear()
    for number in range(MAX_CASES + 3):
        world.directory.apply(Node(100 + number, 1, LOST.trunk, "n", http=LOST.http))
        world.cases.hear(Suspicion(100 + number, 1, Cause.SILENT))
    assert world.counters[Counted.SUSPICIONS_FULL] == 3
    await world.cases.close()
    assert len(asyncio.all_tasks()) == 1


def test_three_ask_at_once_and_the_others_later() -> None:
    """All processes see the same order, and it differs from one lost process to the next."""
    live = [Owner(number, 1) for number in range(20)]
    orders = []
    for lost in live[:5]:
        first = [me for me in live if me != lost and waits_s(lost, me, live) == 0.0]
        assert len(first) == WITNESSES
        assert {waits_s(lost, me, live) for me in live if me not in (lost, *first)} == {LATER_S}
        orders.append(tuple(first))
    assert len(set(orders)) > 1
    assert waits_s(live[0], live[1], live[:2]) == 0.0
