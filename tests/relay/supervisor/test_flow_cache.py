"""The supervisor's side: what is written, when it is written again, what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from datagram.mmsg import name_row
from fleet.errors import StoreUnavailable
from relay.shared.flows import FlowTable
from relay.shared.nodes import FlowOwner
from relay.supervisor.flow_cache import FlowCache
from relay.supervisor.flow_store import MemoryFlowStore
from relay.supervisor.questions import Questions
from relay.supervisor.store_counts import StoreCounts
from relay.supervisor.unwritten import Unwritten
from tests.relay.kit import client

NOW_MS = 5_000_000
REFRESH_MS = 25_000


def table(capacity: int = 1000) -> FlowTable:
    return FlowTable(memoryview(bytearray(FlowTable.size_bytes(capacity))), capacity)


def put(flows: FlowTable, address: bytes, owner: FlowOwner, now_ms: int = NOW_MS) -> None:
    words = name_row(address)[None, :]
    where, ports = words[:, 1:3], words[:, 0] >> np.uint64(16) & np.uint64(0xFFFF)
    [hashed] = flows.hashes(where, ports)
    flows.put(hashed, where[0], int(ports[0]), *owner, now_ms)


def all_due(unwritten: Unwritten, now_ms: int = NOW_MS, limit: int = 100) -> dict[bytes, FlowOwner]:
    due: dict[bytes, FlowOwner] = {}
    for _ in range(unwritten.slices):
        due |= unwritten.due(now_ms, limit).flows
    return due


def test_new_and_moved_flows_are_due_once() -> None:
    """A flow is written when it appears and when its owner changes; the newest owner counts."""
    flows = table()
    unwritten = Unwritten(flows, REFRESH_MS, slice_slots=64)
    for number in range(20):
        put(flows, client(number), FlowOwner(number, 1))
    assert all_due(unwritten) == {client(n): FlowOwner(n, 1) for n in range(20)}
    assert all_due(unwritten) == {}
    put(flows, client(3), FlowOwner(7, 7))
    put(flows, client(3), FlowOwner(8, 8))
    assert all_due(unwritten) == {client(3): FlowOwner(8, 8)}


def test_only_flows_that_are_seen_are_refreshed() -> None:
    """After the interval a flow with packets is written again, an idle one is left to expire."""
    flows = table()
    unwritten = Unwritten(flows, REFRESH_MS)
    put(flows, client(1), FlowOwner(1, 1))
    put(flows, client(2), FlowOwner(2, 2))
    all_due(unwritten)
    put(flows, client(1), FlowOwner(1, 1), NOW_MS + 1000)  # as a packet does
    assert all_due(unwritten, NOW_MS + REFRESH_MS - 1) == {}
    assert all_due(unwritten, NOW_MS + REFRESH_MS) == {client(1): FlowOwner(1, 1)}


def test_a_flow_that_expired_and_came_back_is_written_again() -> None:
    """Same slot, same tag, same owner: still a new flow."""
    flows = table()
    unwritten = Unwritten(flows, REFRESH_MS)
    put(flows, client(1), FlowOwner(1, 1))
    all_due(unwritten)
    assert flows.expire(NOW_MS + 60_001, 60_000, flows.slot_count) == 1
    assert all_due(unwritten, NOW_MS + 60_001) == {}
    put(flows, client(1), FlowOwner(1, 1), NOW_MS + 60_002)
    assert all_due(unwritten, NOW_MS + 60_002) == {client(1): FlowOwner(1, 1)}


def test_a_full_answer_stays_at_its_slice() -> None:
    """More than the limit in one slice is given out in turns, and none is forgotten."""
    flows = table()
    unwritten = Unwritten(flows, REFRESH_MS)
    for number in range(25):
        put(flows, client(number), FlowOwner(number, 1))
    sizes = [len(unwritten.due(NOW_MS, 10).flows) for _ in range(4)]
    assert sizes == [10, 10, 5, 0]


class FlakyStore(MemoryFlowStore):
    """Fails while `away`."""

    away = False
    calls = 0

    async def put(self, flows: Mapping[bytes, FlowOwner], ttl_s: int) -> None:
        self._check()
        await super().put(flows, ttl_s)

    async def get(self, addresses: Sequence[bytes]) -> dict[bytes, FlowOwner]:
        self._check()
        return await super().get(addresses)

    def _check(self) -> None:
        self.calls += 1
        if self.away:
            raise StoreUnavailable("away")


class Pauses:
    """In place of sleeping: ends the loop after so many pauses, and remembers them."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.lengths_s: list[float] = []

    async def __call__(self, pause_s: float) -> None:
        self.lengths_s.append(pause_s)
        self.left -= 1
        if self.left <= 0:
            raise asyncio.CancelledError


async def run(cache: FlowCache) -> None:
    with pytest.raises(asyncio.CancelledError):
        await cache.run()


async def test_more_flows_than_a_batch_are_all_written() -> None:
    """The cache goes on without its long pause until everything is in the store."""
    flows, store, counts, pauses = table(), FlakyStore(), StoreCounts(), Pauses(6)
    for number in range(1, 901):
        put(flows, client(number), FlowOwner(1, 1))
    await run(FlowCache(store, [flows], 60, counts, now=lambda: NOW_MS / 1000, pause=pauses))
    assert counts.flow_store_writes == 900
    assert len(await store.get([client(number) for number in range(1, 901)])) == 900
    assert pauses.lengths_s[:3] < pauses.lengths_s[-3:]


async def test_an_outage_costs_nothing_and_all_is_written_after_it() -> None:
    """Failures are counted and waited out longer and longer; then also what was written before."""
    flows, store, counts = table(), FlakyStore(), StoreCounts()
    put(flows, client(1), FlowOwner(1, 1))
    pauses = Pauses(1)
    cache = FlowCache(store, [flows], 60, counts, now=lambda: NOW_MS / 1000, pause=pauses)
    await run(cache)
    assert counts.flow_store_writes == 1
    store.away = True
    put(flows, client(2), FlowOwner(2, 2))
    pauses.left = 3
    await run(cache)
    assert counts.flow_store_write_failures == 3
    assert pauses.lengths_s[-1] >= 0.4
    store.away = False
    await store.put({client(1): FlowOwner(9, 9)}, 60)  # as if the store had been replaced
    pauses.left = 3
    await run(cache)
    found = await store.get([client(1), client(2)])
    assert found == {client(1): FlowOwner(1, 1), client(2): FlowOwner(2, 2)}


async def asked(questions: Questions, addresses: list[bytes]) -> dict[bytes, FlowOwner | None]:
    """Run until the addresses are answered."""
    answers: asyncio.Future[dict[bytes, FlowOwner | None]] = asyncio.Future()
    running = asyncio.create_task(questions.run())
    try:
        questions.ask(addresses, answers.set_result)
        return await answers
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_every_address_gets_an_answer() -> None:
    """The known with their owner, the others with none."""
    store, counts = FlakyStore(), StoreCounts()
    await store.put({client(1): FlowOwner(3, 4)}, 60)
    answer = await asked(Questions(store, counts), [client(1), client(2)])
    assert answer == {client(1): FlowOwner(3, 4), client(2): None}
    assert (counts.flow_store_found, counts.flow_store_unknown) == (1, 1)


async def test_waiting_questions_are_bounded() -> None:
    """What does not fit is refused and counted, and the rest is answered."""
    counts = StoreCounts()
    questions = Questions(FlakyStore(), counts, max_waiting=2)
    answer = await asked(questions, [client(number) for number in range(5)])
    assert len(answer) == 2
    assert counts.flow_store_refused == 3


async def test_during_an_outage_nothing_is_asked() -> None:
    """One failure, then questions are refused until the pause is over; then they are asked."""
    store, counts = FlakyStore(), StoreCounts()
    store.away = True
    pausing, go_on = asyncio.Event(), asyncio.Event()

    async def pause(pause_s: float) -> None:
        assert 0.1 <= pause_s <= 0.2
        pausing.set()
        await go_on.wait()

    questions = Questions(store, counts, pause=pause)
    running = asyncio.create_task(questions.run())
    unheard: list[object] = []
    questions.ask([client(1)], unheard.append)
    await pausing.wait()
    calls = store.calls
    questions.ask([client(2)], unheard.append)
    assert (store.calls, counts.flow_store_unanswered, counts.flow_store_refused) == (calls, 1, 1)
    store.away = False
    go_on.set()
    answered = asyncio.Event()
    while not answered.is_set():
        await asyncio.sleep(0)
        questions.ask([client(3)], lambda _answer: answered.set())
    assert unheard == []
    running.cancel()
    await asyncio.wait({running})


async def test_a_connection_may_take_longer_than_an_answer() -> None:
    """It is made before a question waits for it: at the start, and again after an outage."""

    class Distant(FlakyStore):
        connected = False

        async def get(self, addresses: Sequence[bytes]) -> dict[bytes, FlowOwner]:
            self._check()
            if not self.connected:
                await asyncio.sleep(0.05)  # five times what an answer may take
                self.connected = True
            return await MemoryFlowStore.get(self, addresses)

    store, counts, paused = Distant(), StoreCounts(), asyncio.Event()

    async def pause(_pause_s: float) -> None:
        store.away = False
        paused.set()

    await store.put({client(1): FlowOwner(3, 4)}, 60)
    questions = Questions(store, counts, timeout_s=0.01, pause=pause)
    assert await asked(questions, [client(1)]) == {client(1): FlowOwner(3, 4)}
    store.away, store.connected = True, False
    running = asyncio.create_task(questions.run())
    questions.ask([client(1)], lambda _answer: None)
    await paused.wait()
    answered = asyncio.Event()
    while not answered.is_set():
        await asyncio.sleep(0)
        questions.ask([client(1)], lambda _answer: answered.set())
    assert counts.flow_store_unanswered == 1
    running.cancel()
    await asyncio.wait({running})


async def test_a_store_that_is_too_slow_counts_as_away() -> None:
    """The packets are not there any more when it answers."""

    class SlowStore(FlakyStore):
        async def get(self, addresses: Sequence[bytes]) -> dict[bytes, FlowOwner]:
            if addresses == [client(1)]:
                await asyncio.Event().wait()
            return {}

    counts, pausing = StoreCounts(), asyncio.Event()

    async def pause(_pause_s: float) -> None:
        pausing.set()
        await asyncio.Event().wait()

    questions = Questions(SlowStore(), counts, timeout_s=0.01, pause=pause)
    running = asyncio.create_task(questions.run())
    questions.ask([client(1)], lambda _answer: None)
    await pausing.wait()
    assert counts.flow_store_unanswered == 1
    running.cancel()
    await asyncio.wait({running})
