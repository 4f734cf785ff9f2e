"""One contract, held by the ledger in memory and by the one in a real Redis."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol

import pytest
import redis.asyncio
from redis.exceptions import ResponseError

from fleet.errors import StoreUnavailable
from fleet.limits.ledger import Ledger, Usage
from fleet.limits.memory_ledger import MemoryLedger
from fleet.limits.redis_ledger import MAX_CALLS_A_SCRIPT, RedisLedger
from fleet.limits.rules import MAX_RULES, Demand, Limits, Reason, Refusal
from tests.conftest import RedisServer
from tests.rings import token_ring

KEY = "key/k_1"
WINDOW_S = 1000


class World(Protocol):
    """A ledger, another process's view of it, and a hand on its time."""

    @property
    def ledger(self) -> Ledger: ...

    @property
    def other(self) -> Ledger: ...

    async def pass_leases(self) -> None: ...

    async def pass_time(self, seconds: float) -> None: ...

    async def pass_window(self) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.now = 5000.0
        self.ledger = self.other = MemoryLedger(now=lambda: self.now, window_s=WINDOW_S)

    async def pass_leases(self) -> None:
        self.now += 31

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds

    async def pass_window(self) -> None:
        self.now += WINDOW_S


class RedisWorld:
    """Time passes by writing into Redis what would be there later."""

    def __init__(self, url: str) -> None:
        self.ledger, self.other = (
            RedisLedger(url, 7, token_ring, window_s=WINDOW_S) for _ in range(2)
        )
        self.raw = redis.asyncio.Redis.from_url(url, decode_responses=True)

    async def pass_leases(self) -> None:
        for key in await self.raw.keys("trunkline:{7}:ledger:calls:*"):
            for call in await self.raw.zrange(key, 0, -1):
                await self.raw.zadd(key, {call: 1})  # type: ignore[type-var]

    async def pass_time(self, seconds: float) -> None:
        for key in await self.raw.keys("trunkline:{7}:ledger:rate:*"):
            at_ms = int(await self.raw.hget(key, "at_ms"))  # type: ignore[arg-type]
            await self.raw.hset(key, "at_ms", str(at_ms - int(seconds * 1000)))

    async def pass_window(self) -> None:
        for key in await self.raw.keys("trunkline:{7}:ledger:spent:*"):
            await self.raw.hincrby(key, "window", -1)

    async def close(self) -> None:
        await self.ledger.close()
        await self.other.close()
        await self.raw.aclose()


@pytest.fixture(params=["memory", "redis"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    made = RedisWorld(request.getfixturevalue("redis_url"))
    yield made
    await made.close()


def demand(subject: str = KEY, **limits: float) -> Demand:
    return Demand(subject, Limits(**limits))  # type: ignore[arg-type]


async def admit(ledger: Ledger, call: str, *demands: Demand) -> Refusal | None:
    """The refusal of a call that has one option."""
    answer = await ledger.admit(call, [demands])
    return answer if isinstance(answer, Refusal) else None


async def test_calls_at_once_are_bounded_over_all_processes(world: World) -> None:
    """Two processes that admit at the same time let in exactly as many as the limit says."""
    asks = (
        admit(ledger, f"call{n}{i}", demand(calls=3))
        for n, ledger in enumerate((world.ledger, world.other))
        for i in range(5)
    )
    answers = await asyncio.gather(*asks)
    assert answers.count(None) == 3
    assert {a for a in answers if a} == {Refusal(KEY, Reason.CALLS, 0.0)}


async def test_a_place_given_back_is_taken_by_the_next(world: World) -> None:
    """Release frees one place; releasing again, or what was never taken, frees none."""
    assert await admit(world.ledger, "a", demand(calls=1)) is None
    assert await admit(world.other, "b", demand(calls=1)) is not None
    await world.ledger.release({KEY: ["a", "never"], "key/unknown": ["a"]})
    await world.ledger.release({KEY: ["a"]})
    assert await admit(world.other, "b", demand(calls=1)) is None
    assert await admit(world.other, "c", demand(calls=1)) is not None


async def test_asking_twice_for_one_call_is_asking_once(world: World) -> None:
    """A client may repeat a command whose answer it did not get."""
    wanted = [demand(calls=1, rate=1)]
    assert await admit(world.ledger, "a", *wanted) is None
    assert await admit(world.ledger, "a", *wanted) is None


async def test_places_of_a_crashed_process_come_back(world: World) -> None:
    """Who does not renew loses its places; who does keeps them."""
    for call in ("alive", "dead"):
        await admit(world.ledger, call, demand(calls=2))
    await world.pass_leases()
    await world.ledger.hold({KEY: ["alive"]})
    assert await admit(world.other, "new", demand(calls=2)) is None
    assert await admit(world.other, "one more", demand(calls=2)) is not None


async def test_holding_brings_back_what_the_store_forgot(world: World) -> None:
    """After a store lost its data, live calls count again with the next renewal, however many."""
    calls = [f"call{n}" for n in range(MAX_CALLS_A_SCRIPT + 1)]
    await world.ledger.hold({KEY: calls})
    refusal = await admit(world.other, "new", demand(calls=len(calls)))
    assert refusal == Refusal(KEY, Reason.CALLS, 0.0)


async def test_calls_a_second_are_bounded_and_say_when(world: World) -> None:
    """A second's worth at once, then one for each step of time; the wait is named."""
    answers = [await admit(world.ledger, f"a{n}", demand(rate=4)) for n in range(5)]
    assert answers[:4] == [None] * 4
    assert answers[4] is not None
    assert answers[4].reason is Reason.RATE
    assert 0 < answers[4].retry_after_s <= 0.25
    await world.pass_time(0.5)
    again = [await admit(world.other, f"b{n}", demand(rate=4)) for n in range(4)]
    assert again[:2] == [None, None]
    assert again[3] is not None


async def test_a_slow_rate_lets_one_call_at_a_time_in(world: World) -> None:
    """Half a call a second is one call, then two seconds without."""
    assert await admit(world.ledger, "a", demand(rate=0.5)) is None
    refusal = await admit(world.ledger, "b", demand(rate=0.5))
    assert refusal is not None
    assert 1.0 < refusal.retry_after_s <= 2.0


async def test_a_refused_call_costs_nothing(world: World) -> None:
    """A subject that would admit is not charged when another one refuses."""
    full = demand("model/m", calls=1)
    assert await admit(world.ledger, "a", full) is None
    for n in range(5):
        refusal = await admit(world.ledger, f"b{n}", demand(calls=1, rate=1), full)
        assert refusal == Refusal("model/m", Reason.CALLS, 0.0)
    assert await admit(world.ledger, "c", demand(calls=1, rate=1)) is None


A, B = "model/a", "model/b"


async def test_a_call_gets_the_first_option_that_has_room(world: World) -> None:
    """And a place nowhere else; when no option has room, it gets none at all."""
    options = [[demand(), demand(A, calls=1)], [demand(), demand(B, calls=1)]]
    assert await world.ledger.admit("first", options) == 0
    assert await world.other.admit("second", options) == 1
    assert await world.ledger.admit("third", options) == Refusal(A, Reason.CALLS, 0.0)
    assert await world.other.usage() == [Usage(KEY, 2, 0), Usage(A, 1, 0), Usage(B, 1, 0)]


async def test_options_are_bounded_over_all_processes(world: World) -> None:
    """Two processes that admit at the same time fill each option, and no more."""
    options = [[demand(), demand(A, calls=3)], [demand(), demand(B, calls=2)]]
    asks = (
        ledger.admit(f"call{n}{i}", options)
        for n, ledger in enumerate((world.ledger, world.other))
        for i in range(5)
    )
    answers = await asyncio.gather(*asks)
    assert (answers.count(0), answers.count(1)) == (3, 2)
    assert [answer for answer in answers if answer not in (0, 1)] == [
        Refusal(A, Reason.CALLS, 0.0)
    ] * 5


async def test_an_option_that_is_passed_by_costs_nothing(world: World) -> None:
    """Neither a place nor rate of what had room in it."""
    full = demand("model/full", calls=1)
    assert await world.ledger.admit("a", [[full]]) == 0
    assert await world.ledger.admit("b", [[demand(A, rate=0.5), full], [demand(B)]]) == 1
    assert await world.ledger.admit("c", [[demand(A, rate=0.5)]]) == 0


async def test_the_refusal_that_is_over_soonest_is_told(world: World) -> None:
    """Who may get the place of the next call that ends need not wait for the next window."""
    await world.ledger.charge({A: 10})
    spent, full = demand(A, tokens=10), demand(B, calls=1)
    assert await world.ledger.admit("a", [[full]]) == 0
    for options in ([[spent], [full]], [[full], [spent]]):
        assert await world.other.admit("b", options) == Refusal(B, Reason.CALLS, 0.0)


async def test_a_place_that_the_call_has_is_not_asked_for_again(world: World) -> None:
    """A call that needs another option after all is not refused by what it holds itself."""
    key = demand(calls=1, rate=0.5)
    assert await world.ledger.admit("a", [[key, demand(A, calls=1)]]) == 0
    assert await world.ledger.admit("a", [[key, demand(B, calls=1)]]) == 0
    await world.ledger.release({A: ["a"]})
    assert await admit(world.other, "b", demand(B, calls=1)) == Refusal(B, Reason.CALLS, 0.0)
    assert await admit(world.other, "b", demand(A, calls=1)) is None
    assert await admit(world.other, "c", key) == Refusal(KEY, Reason.CALLS, 0.0)


async def test_a_budget_refuses_until_its_window_ends(world: World) -> None:
    """Tokens of all processes add up; the next window begins at nothing."""
    assert await world.ledger.charge({KEY: 60}) == {KEY: 60}
    assert await admit(world.ledger, "a", demand(tokens=100)) is None
    assert await world.other.charge({KEY: 40, "model/m": 40}) == {KEY: 100, "model/m": 40}
    refusal = await admit(world.ledger, "b", demand(tokens=100))
    assert refusal is not None
    assert refusal.reason is Reason.TOKENS
    assert 0 < refusal.retry_after_s <= WINDOW_S
    await world.pass_window()
    assert await admit(world.ledger, "c", demand(tokens=100)) is None
    assert await world.ledger.charge({KEY: 1}) == {KEY: 1}


async def test_what_is_not_limited_is_counted_all_the_same(world: World) -> None:
    """Operators see usage before they set a limit."""
    await admit(world.ledger, "a", demand(), demand("model/m"))
    await world.ledger.charge({KEY: 7})
    assert await world.other.usage() == [Usage(KEY, 1, 7), Usage("model/m", 1, 0)]


async def test_limits_set_by_an_operator_are_the_fleets(world: World) -> None:
    """Other processes read them, and taking them back brings the settings' back."""
    await world.ledger.change(KEY, Limits(5, 2.5, 900))
    assert await world.other.changes() == {KEY: Limits(5, 2.5, 900)}
    await world.other.change(KEY, None)
    assert await world.ledger.changes() == {}


async def test_subjects_with_limits_of_their_own_are_bounded(world: World) -> None:
    """One more than MAX_RULES is refused; changing a known one is not."""
    for n in range(MAX_RULES):
        await world.ledger.change(f"key/{n}", Limits(1))
    with pytest.raises(ValueError, match=str(MAX_RULES)):
        await world.ledger.change("key/more", Limits(1))
    await world.ledger.change("key/0", Limits(2))
    assert len(await world.ledger.changes()) == MAX_RULES


async def test_accounts_in_memory_are_bounded() -> None:
    """The subject used longest ago is forgotten first."""
    ledger = MemoryLedger(max_accounts=2)
    for subject in ("key/a", "key/b", "key/a", "key/c"):
        await admit(ledger, "call " + subject, demand(subject))
    assert [usage.subject for usage in await ledger.usage()] == ["key/a", "key/c"]


async def test_limits_that_no_operator_set_are_left_out(redis_url: str) -> None:
    """Neither made up, nor moved to another subject, nor brought back after a change."""
    clock = itertools.count(1000)
    ledger = RedisLedger(redis_url, 7, token_ring, unix_s=lambda: float(next(clock)))
    raw = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    changes = "trunkline:{7}:ledger:changes"
    await ledger.change("key/b", Limits(1))
    old = await raw.hget(changes, "key/b")
    await ledger.change("key/b", Limits(2))
    assert await ledger.changes() == {"key/b": Limits(2)}
    foreign = [("key/a", "calls=1"), ("key/a", old), ("key/b", old), ("key/a", "x" * 5000)]
    for subject, text in foreign:
        before = ledger.unreadable
        kept = await raw.hgetall(changes)
        await raw.hset(changes, subject, text)
        assert await ledger.changes() == ({} if subject == "key/b" else {"key/b": Limits(2)})
        assert ledger.unreadable == before + 1
        await raw.delete(changes)
        await raw.hset(changes, mapping=kept)  # type: ignore[arg-type]
    await ledger.close()
    await raw.aclose()


HURTS: list[tuple[str | float, ...]] = [
    *(("SET", "x"), ("LPUSH", "x"), ("SADD", "x"), ("ZADD", "inf", "x"), ("DEL",)),
    *(
        ("HSET", field, text)
        for field in ("level", "at_ms", "window", "tokens", KEY)
        for text in ("", "x", "nan", "-inf", "1e308", "-9" * 20, "[" * 3000)
    ),
]


@pytest.mark.parametrize("hurt", HURTS, ids=str)
async def test_no_account_can_be_made_to_hurt(redis_url: str, hurt: tuple[str, ...]) -> None:
    """Whatever somebody leaves in an account, calls are admitted, counted and shown."""
    ledger = RedisLedger(redis_url, 7, token_ring)
    raw = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    await admit(ledger, "a", demand(calls=9, rate=9, tokens=10**9))
    await ledger.charge({KEY: 1})
    await ledger.change(KEY, Limits(9))
    command, *arguments = hurt
    for key in await raw.keys("*"):
        with suppress(ResponseError):  # a field command on a key of another type
            await raw.execute_command(command, key, *arguments)
    assert await admit(ledger, "b", demand(calls=9, rate=9, tokens=10**9)) is None
    await ledger.hold({KEY: ["b"]})
    assert (await ledger.charge({KEY: 1}))[KEY] > 0
    assert KEY in [usage.subject for usage in await ledger.usage()]
    assert await ledger.changes() in ({}, {KEY: Limits(9)})
    await ledger.change(KEY, Limits(8))
    assert await ledger.changes() == {KEY: Limits(8)}
    await ledger.release({KEY: ["a", "b"]})
    await ledger.close()
    await raw.aclose()


async def test_a_redis_that_is_gone_is_named(redis_server: RedisServer) -> None:
    """Every method says StoreUnavailable; nobody waits for repeats."""
    ledger = RedisLedger("redis://127.0.0.1:1/0", 7, token_ring)
    attempts = [
        admit(ledger, "a", demand(calls=1)), ledger.hold({KEY: ["a"]}), ledger.usage(),
        ledger.release({KEY: ["a"]}), ledger.charge({KEY: 1}), ledger.changes(),
        ledger.change(KEY, Limits(1)), ledger.change(KEY, None),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1 cannot be reached"):
            await attempt
    await ledger.close()
