"""The heartbeat of a transceiver and the ear of a relay, through every kind of trouble.

Time stands still here: each pause is a step that the test takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleet.backoff import STORE_PACE
from fleet.directory.directory import Load, Node, Snapshot
from fleet.directory.follower import DirectoryFollower
from fleet.directory.lease_keeper import LeaseKeeper
from fleet.directory.memory_store import MAX_PENDING_CHANGES, MemoryStore
from fleet.directory.redis_store import RedisStore
from fleet.directory.store import RENEW_INTERVAL_S, Lease
from fleet.errors import StoreUnavailable
from tests.rings import token_ring
from trunkline.process.address import Address

TRUNK = Address("127.0.0.1", 5000)


class Steps:
    """A pause that ends when the test says so; `asked_s` is how long it was asked to be."""

    def __init__(self) -> None:
        self.asked_s: asyncio.Queue[float] = asyncio.Queue()
        self._go = asyncio.Semaphore(0)

    async def pause(self, seconds: float) -> None:
        self.asked_s.put_nowait(seconds)
        await self._go.acquire()

    async def take(self) -> float:
        """End the pause that is on; returns how long the next one is asked to be."""
        self._go.release()
        return await self.asked_s.get()


class BreakableStore(MemoryStore):
    """A store in memory that can stop answering."""

    broken = False

    def _check(self) -> None:
        if self.broken:
            raise StoreUnavailable("broken on purpose")

    async def claim(
        self,
        name: str,
        trunk: Address,
        admin: Address | None = None,
        http: Address | None = None,
    ) -> Lease:
        self._check()
        return await super().claim(name, trunk, admin, http)

    async def renew(
        self, lease: Lease, *, draining: bool = False, load: Load | None = None
    ) -> None:
        self._check()
        await super().renew(lease, draining=draining, load=load)

    async def release(self, lease: Lease) -> None:
        self._check()
        await super().release(lease)

    async def snapshot(self) -> Snapshot:
        self._check()
        return await super().snapshot()


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def held(keeper: LeaseKeeper) -> Lease | None:
    """The lease now; mypy would believe an earlier look at the attribute."""
    return keeper.lease


def listening(follower: DirectoryFollower) -> asyncio.Queue[Node]:
    heard: asyncio.Queue[Node] = asyncio.Queue()

    def hear(nodes: Sequence[Node]) -> None:
        for node in nodes:
            heard.put_nowait(node)

    follower.directory.listen(hear)
    return heard


@pytest.fixture
def store() -> BreakableStore:
    return BreakableStore(
        now=lambda: 0.0, snapshot_interval_s=3600, max_nodes=2, random_below=lambda _: 0
    )


async def test_a_lease_is_renewed_every_few_seconds(store: BreakableStore) -> None:
    """The heartbeat outlives the lease's own term."""
    now = [0.0]
    store._now = lambda: now[0]
    steps = Steps()
    keeper = LeaseKeeper(store, "n", TRUNK, pause=steps.pause)
    lease = await keeper.claim()
    async with running(keeper.run()):
        assert await steps.asked_s.get() == RENEW_INTERVAL_S
        for _ in range(5):
            now[0] += RENEW_INTERVAL_S
            assert await steps.take() == RENEW_INTERVAL_S
    assert (await store.snapshot()).nodes == (lease.node(),)


async def test_an_outage_keeps_the_lease_and_backs_off(store: BreakableStore) -> None:
    """Renewals fail, the lease stays, the outage is counted and logged once."""
    steps = Steps()
    keeper = LeaseKeeper(store, "n", TRUNK, pause=steps.pause)
    lease = await keeper.claim()
    with capture_logs() as events:
        async with running(keeper.run()):
            await steps.asked_s.get()
            store.broken = True
            pauses_s = [await steps.take() for _ in range(8)]
            store.broken = False
            assert await steps.take() == RENEW_INTERVAL_S
    assert all(0 < pause_s <= STORE_PACE.longest_s for pause_s in pauses_s)
    assert keeper.lease == lease
    assert (keeper.outages, keeper.losses) == (1, 0)
    names = [event["event"] for event in events]
    assert names == ["store_outage_began", "store_outage_ended"]


async def test_a_lost_lease_is_reported_and_replaced(store: BreakableStore) -> None:
    """Somebody else has the index: the callback hears it, and a new index is claimed."""
    seen: list[Lease | None] = []
    steps = Steps()
    keeper = LeaseKeeper(
        store, "n", TRUNK, follow=lambda now: seen.append(now.lease), pause=steps.pause
    )
    first = await keeper.claim()
    keeper.begin_drain(None)
    with capture_logs() as logged:
        rival = await _taken_from(keeper, store, steps)
    assert [entry for entry in logged if entry["log_level"] == "error"] == [
        {
            "event": "lease_lost",
            "log_level": "error",
            "node": 0,
            "epoch": first.epoch,
            "reason": "another process has claimed this node index since; this one takes a new "
            "index",
        }
    ]
    assert None in seen
    assert keeper.losses == 1
    assert keeper.lease
    assert keeper.lease.index == 1
    assert (await store.snapshot()).nodes == (rival.node(), keeper.lease.node(draining=True))


async def _taken_from(keeper: LeaseKeeper, store: BreakableStore, steps: Steps) -> Lease:
    """Somebody else claims the index of a keeper; returns when it has a new one."""
    async with running(keeper.run()):
        await steps.asked_s.get()
        store.forget_everything()
        rival = await store.claim("rival", TRUNK)
        assert await steps.take() == RENEW_INTERVAL_S
    return rival


async def test_a_full_directory_is_waited_for(store: BreakableStore) -> None:
    """Having lost its index to a full fleet, a node tries again and again."""
    steps = Steps()
    keeper = LeaseKeeper(store, "n", TRUNK, pause=steps.pause)
    await keeper.claim()
    async with running(keeper.run()):
        await steps.asked_s.get()
        store.forget_everything()
        rivals = [await store.claim("rival", TRUNK) for _ in range(2)]
        assert await steps.take() > 0
        assert await steps.take() > 0
        assert not held(keeper)
        await store.release(rivals[1])
        assert await steps.take() == RENEW_INTERVAL_S
    assert keeper.lease


async def test_draining_is_told_at_once(store: BreakableStore) -> None:
    """Not with the next heartbeat: new calls must stop coming now."""
    keeper = LeaseKeeper(store, "n", TRUNK)
    lease = await keeper.claim()
    await keeper.drain(None)
    assert (await store.snapshot()).nodes == (lease.node(draining=True),)


async def test_draining_during_an_outage_is_told_after_it(store: BreakableStore) -> None:
    """The wish is kept and carried by the first renewal that gets through."""
    steps = Steps()
    keeper = LeaseKeeper(store, "n", TRUNK, pause=steps.pause)
    lease = await keeper.claim()
    async with running(keeper.run()):
        await steps.asked_s.get()
        store.broken = True
        await keeper.drain(None)
        store.broken = False
        await steps.take()
    assert (await store.snapshot()).nodes == (lease.node(draining=True),)


async def test_closing_releases_the_index_and_ends_the_heartbeat(store: BreakableStore) -> None:
    """The index is free at once, and no late heartbeat takes one again."""
    steps = Steps()
    keeper = LeaseKeeper(store, "n", TRUNK, pause=steps.pause)
    await keeper.claim()
    async with running(keeper.run()) as heartbeat:
        await steps.asked_s.get()
        await keeper.close()
        steps._go.release()
        await heartbeat
    assert await store.snapshot() == Snapshot(())
    assert keeper.lease is None


async def test_closing_during_an_outage_is_silent(store: BreakableStore) -> None:
    """The lease will expire; a process that ends has nobody to complain to."""
    keeper = LeaseKeeper(store, "n", TRUNK)
    await keeper.claim()
    store.broken = True
    await keeper.close()
    assert keeper.lease is None


async def test_the_first_claim_and_the_first_load_say_what_is_wrong(store: BreakableStore) -> None:
    """At start an unavailable store is an error, not something to wait for."""
    store.broken = True
    with pytest.raises(StoreUnavailable):
        await LeaseKeeper(store, "n", TRUNK).claim()
    follower = DirectoryFollower(store)
    with pytest.raises(StoreUnavailable):
        await follower.load()
    assert not follower.loaded


async def test_a_follower_hears_changes(store: BreakableStore) -> None:
    """What happens in the store reaches the directory's listeners."""
    follower = DirectoryFollower(store)
    heard = listening(follower)
    before = await store.claim("before", TRUNK)
    await follower.load()
    assert follower.loaded
    assert await heard.get() == before.node()
    async with running(follower.run()):
        lease = await store.claim("n", TRUNK)
        assert await heard.get() == lease.node()
        await store.release(lease)
        assert await heard.get() == lease.node(live=False)


async def test_a_follower_keeps_its_directory_through_an_outage(
    make_redis: Callable[..., Any],
) -> None:
    """Redis dies and comes back empty: every node stays known, and news goes on afterwards."""
    server = make_redis()
    steps = Steps()
    transceiver, relay = (
        RedisStore(server.url, 0, token_ring),
        RedisStore(server.url, 0, token_ring),
    )
    follower = DirectoryFollower(relay, pause=steps.pause)
    heard = listening(follower)
    lease = await transceiver.claim("n", TRUNK)
    async with running(follower.run()):
        assert await heard.get() == lease.node()
        server.stop()
        assert 0 < await steps.asked_s.get() <= STORE_PACE.longest_s
        assert follower.directory.find(lease.index) == lease.node()
        server.start()
        steps._go.release()
        assert await heard.get() == lease.node(live=False)  # the snapshot is empty
        await transceiver.renew(lease)
        assert await heard.get() == lease.node()
    assert follower.loaded
    assert follower.outages == 1
    for client in (transceiver, relay):
        await client.close()


async def test_pending_changes_are_bounded(store: BreakableStore) -> None:
    """A watcher that does not listen costs no more than its queue, and heals by snapshot."""
    watch: AsyncGenerator[Snapshot | Node, None] = store.watch()
    await anext(watch)
    lease = await store.claim("n", TRUNK)
    for number in range(2 * MAX_PENDING_CHANGES):
        await store.renew(lease, draining=number % 2 == 0)
    (queue,) = store._watchers
    assert queue.qsize() == MAX_PENDING_CHANGES
    await watch.aclose()
    assert not store._watchers


async def test_a_fault_of_our_own_ends_no_heartbeat(store: BreakableStore) -> None:
    """Whatever raises in a beat is logged once a row, and the next beat comes."""
    faults = [RuntimeError("a bug"), RuntimeError("a bug")]

    def load() -> Load | None:
        if faults:
            raise faults.pop()
        return None

    steps = Steps()
    keeper = LeaseKeeper(store, "n", TRUNK, load=load, pause=steps.pause)
    lease = await keeper.claim()
    with capture_logs() as events:
        async with running(keeper.run()):
            await steps.asked_s.get()
            assert [0 < await steps.take() < RENEW_INTERVAL_S for _ in range(2)] == [True, True]
            assert await steps.take() == RENEW_INTERVAL_S
    assert keeper.lease == lease
    assert [event["event"] for event in events].count("heartbeat_failed") == 1


async def test_a_fault_of_a_listener_ends_no_follower(store: BreakableStore) -> None:
    """Others still hear, the fault is logged once a row, and the directory goes on."""
    steps = Steps()
    follower = DirectoryFollower(store, pause=steps.pause)
    faults = [RuntimeError("a bug")]

    def fail(_nodes: Sequence[Node]) -> None:
        if faults:
            raise faults.pop()

    follower.directory.listen(fail)
    heard = listening(follower)
    with capture_logs() as events:
        async with running(follower.run()):
            lease = await store.claim("n", TRUNK)
            assert await heard.get() == lease.node()
            other = await store.claim("m", TRUNK)
            assert await heard.get() == other.node()
    assert [event["event"] for event in events].count("directory_listener_failed") == 1
