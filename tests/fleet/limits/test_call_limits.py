"""A process's side of the ledger, also while the ledger does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

import pytest

from fleet.ending import end
from fleet.errors import StoreUnavailable
from fleet.limits.call_limits import CallLimits, Ticket
from fleet.limits.ledger import Usage
from fleet.limits.memory_ledger import MemoryLedger
from fleet.limits.rules import Demand, LimitReached, LimitRules, Limits, Reason, Refusal


class Fragile(MemoryLedger):
    """A ledger that is away when told so; `settled` wakes who waits for the worker's commands."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.asked = 0
        self.settled = asyncio.Event()

    def _answer(self) -> None:
        self.settled.set()
        if self.away:
            raise StoreUnavailable("Redis at nowhere cannot be reached")

    async def admit(self, call: str, options: Sequence[Sequence[Demand]]) -> int | Refusal:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("Redis at nowhere cannot be reached")
        return await super().admit(call, options)

    async def hold(self, places: Mapping[str, Collection[str]]) -> None:
        await super().hold({} if self.away else places)
        self._answer()

    async def release(self, places: Mapping[str, Collection[str]]) -> None:
        await super().release({} if self.away else places)
        self._answer()

    async def charge(self, tokens: Mapping[str, int]) -> dict[str, int]:
        used = await super().charge({} if self.away else tokens)
        self._answer()
        return used


class Process:
    """One process's limits over a shared ledger, with a clock of its own."""

    def __init__(self, ledger: Fragile, rules: str) -> None:
        self.now_s = 100.0
        self.exhausted: asyncio.Queue[frozenset[str]] = asyncio.Queue()
        self.limits = CallLimits(
            ledger,
            LimitRules.parse(rules),
            on_exhausted=self.exhausted.put_nowait,
            now=lambda: self.now_s,
            charge_interval_s=0,
        )

    async def placed(self, key: str = "k", *models: str) -> Ticket:
        ticket = Ticket(key)
        assert await self.limits.admit(ticket, [models]) == 0
        return ticket

    async def refused(self, key: str = "k", *models: str) -> Refusal:
        with pytest.raises(LimitReached) as caught:
            await self.limits.admit(Ticket(key), [models])
        return caught.value.refusal


@pytest.fixture
async def ledger() -> Fragile:
    return Fragile()


@pytest.fixture
async def process(ledger: Fragile) -> AsyncIterator[Process]:
    it = Process(ledger, "key/*: calls=2 tokens=100; model/voice: calls=1")
    worker = asyncio.create_task(it.limits.run())
    yield it
    await end([worker])


async def calls_of(ledger: Fragile, subject: str) -> int:
    return next((u.calls for u in await ledger.usage() if u.subject == subject), 0)


async def settle(ledger: Fragile) -> None:
    """Return when the worker has spoken to the ledger again."""
    ledger.settled.clear()
    await ledger.settled.wait()


async def test_calls_are_admitted_up_to_the_limit(process: Process) -> None:
    """The third call of a key is refused with the reason; another key has its own two."""
    for _ in range(2):
        await process.placed("k")
    assert await process.refused() == Refusal("key/k", Reason.CALLS, 0.0)
    await process.placed("other")
    assert process.limits.counters == {"limit_admitted": 3, "limit_refused_calls": 1}


async def test_an_ended_call_gives_its_place_back(process: Process, ledger: Fragile) -> None:
    """The worker tells the ledger at once; ending twice gives back one place."""
    first, _ = [await process.placed("k") for _ in range(2)]
    process.limits.ended(first)
    process.limits.ended(first)
    await settle(ledger)
    await process.placed("k")
    assert (await process.refused()).reason is Reason.CALLS


async def test_a_named_model_has_limits_of_its_own(process: Process) -> None:
    """The second call for the model is refused though its key has room."""
    await process.placed("a", "voice")
    assert (await process.refused("b", "voice")).subject == "model/voice"


CHOICES = [("voice",), ("lab",)]


async def test_a_call_uses_the_model_it_is_given(process: Process, ledger: Fragile) -> None:
    """The first choice with room; its tokens are charged to that model and to the key."""
    first, second = Ticket("a"), Ticket("b")
    assert await process.limits.admit(first, CHOICES) == 0
    assert await process.limits.admit(second, CHOICES) == 1
    assert (first.subjects, second.subjects) == (("key/a", "model/voice"), ("key/b",))
    process.limits.spent(first, 5)
    process.limits.spent(second, 7)
    await settle(ledger)
    usage = {used.subject: used.tokens for used in await ledger.usage()}
    assert usage == {"key/a": 5, "key/b": 7, "model/voice": 5}


async def test_a_second_choice_gives_the_first_back(process: Process, ledger: Fragile) -> None:
    """The place under the key stays, counted once; the model's is free for the next call."""
    ticket = await process.placed("k", "voice")
    assert await process.limits.admit(ticket, [("lab",)]) == 0
    assert ticket.subjects == ("key/k",)
    await settle(ledger)
    assert (await calls_of(ledger, "key/k"), await calls_of(ledger, "model/voice")) == (1, 0)
    await process.placed("k", "voice")
    assert process.limits.counters == {"limit_admitted": 2}
    process.limits.ended(ticket)
    await settle(ledger)
    assert await calls_of(ledger, "key/k") == 1


async def test_a_refused_second_choice_leaves_the_first(process: Process, ledger: Fragile) -> None:
    """What the call has is given back when it ends, and not before."""
    await process.placed("a", "voice")
    ticket = await process.placed("b")
    with pytest.raises(LimitReached):
        await process.limits.admit(ticket, [("voice",)])
    assert ticket.subjects == ("key/b",)
    process.limits.ended(ticket)
    await settle(ledger)
    assert await calls_of(ledger, "key/b") == 0


async def test_choices_without_the_ledger(process: Process, ledger: Fragile) -> None:
    """The process alone passes by what is full as well; its calls of before the outage count."""
    await process.placed("a", "voice")
    ledger.away = True
    ticket = Ticket("b")
    assert await process.limits.admit(ticket, CHOICES) == 1
    assert (await process.refused("c", "voice")).subject == "model/voice"


async def test_without_the_ledger_each_process_counts_alone(
    process: Process, ledger: Fragile
) -> None:
    """The calls it already has count; the ledger is asked again only after a pause."""
    await process.placed("k")
    ledger.away = True
    asked = ledger.asked
    await process.placed("k")
    assert (await process.refused()).reason is Reason.CALLS
    assert ledger.asked == asked + 1
    assert process.limits.alone


async def test_calls_of_an_outage_count_when_the_ledger_is_back(
    process: Process, ledger: Fragile
) -> None:
    """The next renewal takes places for them; their ends give those back."""
    ledger.away = True
    tickets = [await process.placed("k") for _ in range(2)]
    ledger.away = False
    process.now_s += 60
    process.limits.spent(tickets[0], 1)  # wakes the worker, whose renewal is due
    await settle(ledger)
    await process.placed("other")
    assert await calls_of(ledger, "key/k") == 2
    assert not process.limits.alone


async def test_a_spent_budget_is_told_and_refuses(process: Process) -> None:
    """Who ends the calls of a key hears its subject when the tokens are used up."""
    ticket = await process.placed("k")
    process.limits.spent(ticket, 60)
    process.limits.spent(ticket, 40)
    assert await process.exhausted.get() == {"key/k"}
    assert (await process.refused()).reason is Reason.TOKENS


async def test_a_budget_holds_without_the_ledger(process: Process, ledger: Fragile) -> None:
    """Tokens of an outage are counted in the process that sees them."""
    ledger.away = True
    ticket = await process.placed("k")
    process.limits.spent(ticket, 100)
    assert await process.exhausted.get() == {"key/k"}


async def test_limits_of_an_operator_hold_at_once(process: Process, ledger: Fragile) -> None:
    """Here with the answer, elsewhere with the next renewal, and they can be taken back."""
    other = Process(ledger, "key/*: calls=2")
    await process.limits.change("key/k", Limits(calls=1))
    await process.placed("k")
    assert (await process.refused()).reason is Reason.CALLS
    worker = asyncio.create_task(other.limits.run())
    while other.limits.rules.limits_of("key/k").calls != 1:
        await settle(ledger)
        other.now_s += 60
        other.limits._news.set()
    await process.limits.change("key/k", None)
    await process.placed("k")
    await end([worker])


async def test_closing_gives_everything_back(ledger: Fragile) -> None:
    """A process that ends in order leaves no place taken."""
    it = Process(ledger, "key/*: calls=2")
    await it.placed("k")
    await it.limits.close()
    assert await ledger.usage() == [Usage("key/k", 0, 0)]
    assert it.limits.live == 0


async def test_closing_during_an_outage_raises_nothing(ledger: Fragile) -> None:
    """The places expire by themselves then."""
    it = Process(ledger, "key/*: calls=2")
    await it.placed("k")
    ledger.away = True
    await it.limits.close()
