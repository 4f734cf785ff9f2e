"""One contract, held by the store in memory and by the one in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

import pytest
import redis.asyncio

from fleet.directory.directory import (
    Directory,
    Load,
    Node,
    Snapshot,
    fenced,
    is_fence_of,
)
from fleet.directory.memory_store import MemoryStore
from fleet.directory.redis_store import RedisStore
from fleet.directory.store import Lease, Store
from fleet.errors import DirectoryFull, Fenced, LeaseLost
from tests.rings import token_ring
from trunkline.process.address import Address
from wire.epoch import next_epoch

TRUNK = Address("127.0.0.1", 5000)
MAX_NODES = 4


class World(Protocol):
    """A store, a second process's view of the same one, and a hand on its time and memory."""

    @property
    def store(self) -> Store: ...

    @property
    def other(self) -> Store: ...

    async def expire(self, lease: Lease) -> None: ...

    async def forget_everything(self) -> None: ...


class MemoryWorld:
    def __init__(self, snapshot_interval_s: float) -> None:
        self.now = 0.0
        self.store = self.other = MemoryStore(
            now=lambda: self.now,
            snapshot_interval_s=snapshot_interval_s,
            max_nodes=MAX_NODES,
            random_below=lambda _: 0,
        )

    async def expire(self, lease: Lease) -> None:
        self.store._holdings[lease.index].expires_at = self.now

    async def forget_everything(self) -> None:
        self.store.forget_everything()


class RedisWorld:
    def __init__(self, url: str, snapshot_interval_s: float) -> None:
        def connect() -> RedisStore:
            return RedisStore(
                url,
                7,
                token_ring,
                snapshot_interval_s=snapshot_interval_s,
                max_nodes=MAX_NODES,
                random_below=lambda _: 0,
            )

        self.store, self.other = connect(), connect()
        self.raw = redis.asyncio.Redis.from_url(url)

    async def expire(self, lease: Lease) -> None:
        await self.raw.zadd("trunkline:{7}:directory:expiry", {str(lease.index): 1})

    async def forget_everything(self) -> None:
        await self.raw.flushall()

    async def close(self) -> None:
        await self.store.close()
        await self.other.close()
        await self.raw.aclose()


@pytest.fixture(params=["memory", "redis"])
async def make_world(
    request: pytest.FixtureRequest,
) -> AsyncIterator[Callable[[float], World]]:
    """Make a world whose watchers get a snapshot every so many seconds."""
    made: list[RedisWorld] = []

    def make(snapshot_interval_s: float) -> World:
        if request.param == "memory":
            return MemoryWorld(snapshot_interval_s)
        made.append(RedisWorld(request.getfixturevalue("redis_url"), snapshot_interval_s))
        return made[-1]

    yield make
    for world in made:
        await world.close()


@pytest.fixture
def world(make_world: Callable[[float], World]) -> World:
    """A world whose watchers see changes only, after the first snapshot."""
    return make_world(3600)


async def until(watch: AsyncGenerator[Snapshot | Node, None], wanted: Snapshot | Node) -> None:
    """Return when `wanted` is heard; the test's own timeout is the bound."""
    async for news in watch:
        if news == wanted:
            return
    raise AssertionError("the watch ended")


async def test_an_index_that_is_held_is_passed_over(world: World) -> None:
    """The chosen one, or else the next that is free, all the way round."""
    leases = [await world.store.claim(f"n{i}", TRUNK) for i in range(3)]
    assert [lease.index for lease in leases] == [0, 1, 2]
    await world.store.release(leases[1])
    assert (await world.other.claim("new", TRUNK)).index == 1


async def test_claims_at_the_same_time_get_different_indexes(world: World) -> None:
    """Claiming is atomic."""
    claims = (s.claim("n", TRUNK) for s in (world.store, world.other) * 2)
    leases = await asyncio.gather(*claims)
    assert sorted(lease.index for lease in leases) == [0, 1, 2, 3]
    assert len({lease.token for lease in leases}) == 4


async def test_each_owner_of_an_index_has_the_next_epoch(world: World) -> None:
    """A route token of the owner before never reaches the new one."""
    first = await world.store.claim("a", TRUNK)
    await world.store.release(first)
    second = await world.store.claim("b", TRUNK)
    await world.expire(second)
    third = await world.store.claim("c", TRUNK)
    assert [lease.index for lease in (first, second, third)] == [0, 0, 0]
    assert second.epoch == next_epoch(first.epoch)
    assert third.epoch == next_epoch(second.epoch)


async def test_the_epoch_wraps(world: World) -> None:
    """65535 is followed by 0, and the number survives the store's own arithmetic."""
    lease = replace(await world.store.claim("a", TRUNK), epoch=65535)
    await world.forget_everything()
    await world.store.renew(lease)  # puts 65535 in place
    await world.store.release(lease)
    assert (await world.store.claim("b", TRUNK)).epoch == 0


async def test_a_full_directory_refuses(world: World) -> None:
    """The bound on nodes holds, and ends with the first release."""
    leases = [await world.store.claim("n", TRUNK) for _ in range(MAX_NODES)]
    with pytest.raises(DirectoryFull, match="all 4 node indexes are held"):
        await world.store.claim("n", TRUNK)
    await world.store.release(leases[2])
    assert (await world.store.claim("n", TRUNK)).index == 2


async def test_a_snapshot_holds_what_is_leased(world: World) -> None:
    """Every process sees the same nodes, with their trunk addresses and names."""
    v6 = Address("2001:db8::5", 65535)
    one = await world.store.claim("eins", TRUNK)
    two = await world.store.claim("zwei ü", v6)
    expected = (one.node(), Node(1, two.epoch, v6, "zwei ü"))
    assert await world.other.snapshot() == Snapshot(expected)


async def test_an_expired_lease_leaves_the_snapshot(world: World) -> None:
    """Who does not renew is gone, without anybody cleaning up."""
    lease = await world.store.claim("n", TRUNK)
    await world.expire(lease)
    assert await world.store.snapshot() == Snapshot(())


async def test_draining_is_seen_by_all(world: World) -> None:
    """A renewal carries the drain flag, both ways."""
    lease = await world.store.claim("n", TRUNK)
    await world.store.renew(lease, draining=True)
    assert (await world.other.snapshot()).nodes == (lease.node(draining=True),)
    await world.store.renew(lease)
    assert (await world.other.snapshot()).nodes == (lease.node(),)


async def test_renewing_what_another_owns_is_refused(world: World) -> None:
    """The fence: neither after expiry and a new claim, nor after that one's release."""
    old = await world.store.claim("old", TRUNK)
    await world.expire(old)
    new = await world.other.claim("new", TRUNK)
    with pytest.raises(LeaseLost, match="node 0 has a new owner"):
        await world.store.renew(old)
    assert (await world.store.snapshot()).nodes == (new.node(),)
    await world.other.release(new)
    with pytest.raises(LeaseLost):
        await world.store.renew(old)


async def test_who_was_taken_for_dead_is_told_so(world: World) -> None:
    """Its epoch is over for good and the index is free; all hear it, and it is done once."""
    lease = await world.store.claim("n", TRUNK)
    await world.store.renew(lease)
    async with aclosing(world.other.watch()) as watch:
        assert await anext(watch) == Snapshot((lease.node(),))
        assert await world.other.fence(lease.node())
        news = await anext(watch)
        assert news == fenced(lease.node())
        assert isinstance(news, Node)
        assert is_fence_of(lease.node(), news)
        assert (news.live, news.epoch) == (False, next_epoch(lease.epoch))
    assert not await world.store.fence(lease.node())
    assert await world.store.snapshot() == Snapshot(())
    for _ in range(2):
        with pytest.raises(Fenced, match="node 0 was taken for dead"):
            await world.store.renew(lease)
    newcomer = await world.store.claim("new", TRUNK)
    assert newcomer.epoch == next_epoch(next_epoch(lease.epoch))
    with pytest.raises(LeaseLost):
        await world.store.renew(lease)


async def test_a_newcomer_is_not_taken_for_the_dead(world: World) -> None:
    """A late fence of the owner before leaves the owner of now alone."""
    old = await world.store.claim("old", TRUNK)
    await world.expire(old)
    new = await world.store.claim("new", TRUNK)
    assert not await world.other.fence(old.node())
    await world.store.renew(new)
    assert (await world.store.snapshot()).nodes == (new.node(),)


async def test_a_fence_holds_in_a_store_that_forgot(world: World) -> None:
    """Who is fenced in an empty store cannot bring its lease back."""
    lease = await world.store.claim("n", TRUNK)
    await world.forget_everything()
    assert await world.other.fence(lease.node())
    with pytest.raises(Fenced):
        await world.store.renew(lease)


async def test_releasing_what_another_owns_does_nothing(world: World) -> None:
    """A late goodbye does not evict the newcomer."""
    old = await world.store.claim("old", TRUNK)
    await world.expire(old)
    new = await world.other.claim("new", TRUNK)
    await world.store.release(old)
    assert (await world.store.snapshot()).nodes == (new.node(),)


async def test_an_expired_lease_nobody_took_is_renewed(world: World) -> None:
    """A pause longer than the lease costs nothing when the index stayed free."""
    lease = await world.store.claim("n", TRUNK)
    await world.expire(lease)
    await world.store.renew(lease)
    assert (await world.store.snapshot()).nodes == (lease.node(),)


async def test_a_forgotten_lease_is_renewed_with_its_epoch(world: World) -> None:
    """After the store lost everything the fleet comes back as it was, and counting goes on."""
    lease = await world.store.claim("n", TRUNK)
    await world.forget_everything()
    await world.store.renew(lease)
    assert (await world.store.snapshot()).nodes == (lease.node(),)
    await world.store.release(lease)
    assert (await world.store.claim("next", TRUNK)).epoch == next_epoch(lease.epoch)


async def test_what_no_relay_could_use_is_not_claimed(world: World) -> None:
    """A host name, a wildcard or port 0 never enters the directory."""
    for trunk in (Address("transceiver.svc", 1), Address("::", 1), Address("127.0.0.1", 0)):
        with pytest.raises(ValueError, match="relays can send to"):
            await world.store.claim("n", trunk)
    assert await world.store.snapshot() == Snapshot(())


async def test_watching_begins_with_a_snapshot_and_goes_on_with_changes(world: World) -> None:
    """Claim, drain and release arrive one by one, also from other processes."""
    before = await world.store.claim("before", TRUNK)
    async with aclosing(world.store.watch()) as watch:
        assert await anext(watch) == Snapshot((before.node(),))
        lease = await world.other.claim("n", TRUNK)
        assert await anext(watch) == lease.node()
        await world.other.renew(lease)  # changes nothing, so says nothing
        await world.other.renew(lease, draining=True)
        assert await anext(watch) == lease.node(draining=True)
        await world.other.release(lease)
        assert await anext(watch) == lease.node(live=False)


async def test_a_revived_lease_is_announced(world: World) -> None:
    """Relays learn at once that an expired node is back."""
    lease = await world.store.claim("n", TRUNK)
    async with aclosing(world.other.watch()) as watch:
        await anext(watch)
        await world.expire(lease)
        await world.store.renew(lease)
        assert await anext(watch) == lease.node()


async def test_a_lost_message_heals(make_world: Callable[[float], World]) -> None:
    """Nobody announces an expiry; the next snapshot shows it."""
    world = make_world(0.02)
    lease = await world.store.claim("n", TRUNK)
    async with aclosing(world.other.watch()) as watch:
        await until(watch, Snapshot((lease.node(),)))
        await world.expire(lease)
        await until(watch, Snapshot(()))


async def test_a_directory_follows_a_watch(world: World) -> None:
    """What a watch says, applied in order, is what the store holds."""
    directory = Directory()
    async with aclosing(world.store.watch()) as watch:
        directory.apply(await anext(watch))
        leases = [await world.other.claim(f"n{i}", TRUNK) for i in range(3)]
        await world.other.release(leases[0])
        for _ in range(4):
            directory.apply(await anext(watch))
    live = tuple(node for node in directory if node.live)
    assert Snapshot(live) == await world.store.snapshot()


async def test_cancelling_whoever_watches_ends_the_watch(world: World) -> None:
    """Cancellation passes through and nothing is left behind."""
    heard = asyncio.Event()

    async def listen() -> None:
        async with aclosing(world.store.watch()) as watch:
            async for _ in watch:
                heard.set()

    task = asyncio.create_task(listen())
    await heard.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1


async def test_a_node_says_where_its_operator_finds_it_and_how_busy_it_is(world: World) -> None:
    """Addresses and load come with snapshots; load alone is no change that watchers must hear."""
    admin, http = Address("127.0.0.1", 9201), Address("10.0.0.1", 8080)
    lease = await world.store.claim("n", TRUNK, admin, http)
    nodes = (await world.other.snapshot()).nodes
    assert [(n.admin, n.http, n.load) for n in nodes] == [(admin, http, None)]
    watch = world.other.watch()
    await anext(watch)
    for calls in (1, 2):
        await world.store.renew(lease, load=Load(calls, 100))
    await world.store.renew(lease, draining=True, load=Load(3, 100))
    change = await anext(watch)
    assert isinstance(change, Node)
    assert (change.draining, change.admin, change.http) == (True, admin, http)
    await watch.aclose()
    (node,) = (await world.other.snapshot()).nodes
    assert node.load == Load(3, 100)
    directory = Directory()
    directory.apply(Snapshot((replace(node, load=None),)))
    assert directory.apply(Snapshot((node,))) == ()
    assert [known.load for known in directory] == [Load(3, 100)]
