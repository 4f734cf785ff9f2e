"""Checkpoints of live calls in a real Redis that goes away, comes back empty, and is touched."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from fleet.calls.owner import Owner
from fleet.calls.redis_checkpoints import RedisCheckpoints, Stored
from fleet.errors import StoreUnavailable
from tests.conftest import RedisServer
from tests.rings import token_ring
from tests.transceiver.recovery.states import make_state
from transceiver.counters import Counted
from transceiver.recovery.checkpoint import Checkpoints
from transceiver.recovery.due import INTERVAL_S
from transceiver.recovery.writer import (
    MOST_A_TURN,
    MOST_ENDED,
    WHOLE_EACH,
    CheckpointWriter,
)
from transceiver.takeover.session_state import SessionState

CLUSTER = 5


class Calls:
    """An engine's calls, as values; the number of exports so far is in each."""

    def __init__(self) -> None:
        self.owner = Owner(17, 3)
        self.states: dict[str, SessionState] = {}
        self.counters: Counter[str] = Counter()
        self.taken: dict[str, int] = {}
        self.exports = 0

    def checkpoint(self, call_id: str) -> SessionState | None:
        self.exports += 1
        state = self.states.get(call_id)
        if state is None:
            return None
        link = replace(state.link, taken_events=7)
        return replace(state, messages_sent=self.exports, link=link)

    def kept(self, call_id: str, taken_events: int) -> None:
        self.taken[call_id] = taken_events

    def count(self, reason: str, amount: int = 1) -> None:
        self.counters[reason] += amount


class Store:
    """A store that answers when and as a test says."""

    def __init__(self) -> None:
        self.calls: dict[str, str] = {}
        self.ended: list[str] = []
        self.away = False
        self.sessions = 0

    async def put(
        self, owner: Owner, calls: Sequence[Stored], ended: Sequence[str] = ()
    ) -> list[str]:
        if self.away:
            raise StoreUnavailable("away")
        self.ended += ended
        self.sessions += sum(bool(stored.session) for stored in calls)
        known = [stored for stored in calls if stored.call_id in self.calls or stored.session]
        self.calls |= {stored.call_id: stored.state for stored in known}
        return [stored.call_id for stored in calls if stored not in known]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


Made = tuple[CheckpointWriter, Calls, Store, Clock]


@pytest.fixture
def made() -> Made:
    calls, store, clock = Calls(), Store(), Clock()
    return (
        CheckpointWriter(calls, store, Checkpoints(token_ring, CLUSTER), clock),
        calls,
        store,
        clock,
    )


def begin(calls: Calls, writer: CheckpointWriter, count: int) -> list[str]:
    names = [f"rtc_{number}" for number in range(count)]
    calls.states |= {name: make_state(name) for name in names}
    for name in names:
        writer.changed(name)
    return names


async def test_every_call_is_kept_within_a_second(made: Made) -> None:
    """A few a turn, its session with the second time, and again when the interval is over."""
    writer, calls, store, clock = made
    names = begin(calls, writer, 3 * MOST_A_TURN)
    for _ in range(6):
        before = calls.exports
        await writer.turn()
        assert calls.exports - before <= MOST_A_TURN
        clock.now += 0.02
    assert set(store.calls) == set(names)
    kept = dict(store.calls)
    clock.now += INTERVAL_S
    for _ in range(3):
        await writer.turn()
    assert all(store.calls[name] != kept[name] for name in names)
    assert calls.counters[Counted.CHECKPOINTS] == 9 * MOST_A_TURN
    assert calls.taken == dict.fromkeys(names, 7)  # its backend may forget up to there


async def test_an_outage_costs_a_try_now_and_then(made: Made) -> None:
    """Nothing piles up, what is written afterwards is the newest, and all of it is written."""
    writer, calls, store, clock = made
    names = begin(calls, writer, 2 * MOST_A_TURN)
    for _ in range(4):
        await writer.turn()
    store.away = True
    for _ in range(10):
        clock.now += 1.0
        await writer.turn()
    assert calls.counters[Counted.CHECKPOINTS_FAILED] == 10
    store.away, store.calls = False, {}
    exports = calls.exports
    for _ in range(6):
        clock.now += 0.02
        await writer.turn()
    assert set(store.calls) == set(names)
    opened = Checkpoints(token_ring, CLUSTER)
    oldest = opened._seal.open(f"17:3/{names[-1]}".encode(), store.calls[names[-1]])
    assert oldest
    assert calls.exports > exports


async def test_calls_that_end_are_forgotten(made: Made) -> None:
    """The store hears of it once, also of those that ended while it was away, up to a bound."""
    writer, calls, store, clock = made
    names = begin(calls, writer, 4)
    for _ in range(2):
        await writer.turn()
    store.away = True
    writer.ended(names[0])
    writer.ended("rtc_never_kept")
    del calls.states[names[1]]  # ended, and nobody said so
    clock.now += 1.0
    await writer.turn()
    store.away = False
    await writer.turn()
    assert store.ended == [names[0]]
    begin(calls, writer, MOST_ENDED + 5)
    while not set(calls.states) <= set(writer._stored):
        await writer.turn()
    for name in list(calls.states):
        writer.ended(name)
    assert len(writer._ended) == MOST_ENDED
    await writer.close()
    assert len(store.ended) == MOST_ENDED + 1
    assert not writer._stored


async def test_a_call_that_ends_while_it_is_written_is_forgotten_too(made: Made) -> None:
    """Between its export and the answer of the store."""
    writer, calls, store, _ = made
    names = begin(calls, writer, 8)
    put = store.put

    async def slow(*arguments: Any) -> list[str]:
        missing = await put(*arguments)
        writer.ended(names[0])
        return missing

    store.put = slow  # type: ignore[assignment,method-assign]
    checkpoint = calls.checkpoint

    def last_words(call_id: str) -> SessionState | None:
        if call_id == names[7]:
            writer.ended(names[1])  # while others are exported
        return checkpoint(call_id)

    calls.checkpoint = last_words  # type: ignore[method-assign]
    await writer.turn()
    store.put = put  # type: ignore[method-assign]
    await writer.turn()
    assert sorted(store.ended) == names[:2]
    assert not {*names[:2]} & {*writer._stored, *writer._lacking}


async def test_a_new_lease_keeps_all_anew(made: Made) -> None:
    """What is under the owner before is nobody's: everything is written under the new one."""
    writer, calls, store, clock = made
    names = begin(calls, writer, 3)
    for _ in range(2):
        await writer.turn()
    calls.owner, store.calls = Owner(99, 1), {}
    clock.now += INTERVAL_S + 0.02
    for _ in range(3):
        await writer.turn()
    assert set(store.calls) == set(names)
    text = store.calls[names[0]]
    assert Checkpoints(token_ring, CLUSTER)._seal.open(f"99:1/{names[0]}".encode(), text)


async def test_a_session_is_put_again_now_and_then(made: Made) -> None:
    """Somebody may have spoilt it, and the key that sealed it may be about to be retired."""
    writer, calls, store, clock = made
    begin(calls, writer, 1)
    for _ in range(2):
        await writer.turn()
    whole = []
    for _ in range(3 * WHOLE_EACH):
        store.sessions = 0
        clock.now += INTERVAL_S + 0.02
        await writer.turn()
        whole.append(store.sessions)
    assert sum(whole) == 2 or sum(whole) == 3
    assert max(whole) == 1


async def test_what_raises_stops_no_writer(made: Made) -> None:
    """A fault of ours is counted, and the next turn is one like any other."""
    writer, calls, store, _ = made
    begin(calls, writer, 1)
    good = calls.states.pop("rtc_0")
    calls.states["rtc_0"] = "no state"  # type: ignore[assignment]
    await writer.turn()
    calls.states["rtc_0"] = good
    assert calls.counters[Counted.CHECKPOINTS_FAILED] == 1
    for _ in range(2):
        await writer.turn()
    assert set(store.calls) == {"rtc_0"}


class Real:
    """A writer that runs beside a real Redis."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.calls = Calls()
        self.store = RedisCheckpoints(server.url, CLUSTER)
        loop = asyncio.get_running_loop()
        self.writer = CheckpointWriter(
            self.calls, self.store, Checkpoints(token_ring, CLUSTER), loop.time
        )
        self.raw: Any = redis.asyncio.Redis.from_url(server.url, decode_responses=True)

    async def there(self) -> dict[str, str]:
        key = f"trunkline:{{{CLUSTER}}}:calls:{self.calls.owner}"
        found: dict[str, str] = await self.raw.hgetall(key)
        return found

    async def all_there(self) -> None:
        names = {part for name in self.calls.states for part in (name, f"{name}/session")}
        async with asyncio.timeout(20):
            while True:
                try:
                    if set(await self.there()) == names:
                        return
                except redis.exceptions.ConnectionError:
                    pass
                await asyncio.sleep(0.01)


@pytest.fixture
async def real(make_redis: Callable[..., RedisServer]) -> AsyncIterator[Real]:
    made = Real(make_redis())
    task = asyncio.create_task(made.writer.run())
    yield made
    task.cancel()
    await asyncio.wait([task])
    await made.store.close()
    await made.raw.aclose()


async def test_a_redis_that_comes_back_empty_has_all_again(real: Real) -> None:
    """Calls and their sessions, without anybody asking for them."""
    begin(real.calls, real.writer, 120)
    await real.all_there()
    real.server.stop()
    async with asyncio.timeout(20):
        while not real.calls.counters[Counted.CHECKPOINTS_FAILED]:
            await asyncio.sleep(0.01)
    real.server.start()
    await real.all_there()


async def test_what_somebody_takes_away_or_spoils_is_written_again(real: Real) -> None:
    """A field, the whole key, or another type in its place: a second later all is well."""
    begin(real.calls, real.writer, 3)
    await real.all_there()
    key = f"trunkline:{{{CLUSTER}}}:calls:{real.calls.owner}"
    await real.raw.hdel(key, "rtc_1", "rtc_1/session")
    await real.all_there()
    await real.raw.delete(key)
    await real.all_there()
    await real.raw.set(key, "no hash", px=60_000)
    with pytest.raises(redis.exceptions.ResponseError):
        await real.there()
    async with asyncio.timeout(20):
        while await real.raw.type(key) != "hash":
            await asyncio.sleep(0.01)
    await real.all_there()
