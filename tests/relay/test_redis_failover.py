"""Redis changes its master under a running relay: the cache and the directory go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from fleet.directory.directory import Snapshot
from fleet.directory.follower import DirectoryFollower
from fleet.directory.redis_store import RedisStore
from relay.shared.nodes import FlowOwner
from relay.supervisor.flow_store import RedisFlowStore
from tests.conftest import RedisServer
from tests.failover import service
from tests.relay.test_recovery_process import (
    Place,
    checked_in,
    joined,
    kill,
    media_arrives,
)
from tests.relay.test_relay_process import bound
from tests.rings import token_ring
from trunkline.process.address import Address
from wire.address import pack_address

ONE, TWO = pack_address("192.0.2.1", 4000), pack_address("192.0.2.2", 4000)


async def test_stores_follow_the_new_master(
    make_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """What was written is found on the new master, and new things are written to it."""
    async with service(make_redis, tmp_path) as redis:
        flows = RedisFlowStore(redis.url, 7, token_ring, answer_timeout_s=2)
        store = RedisStore(redis.url, 7, token_ring, lease_s=600)
        await flows.put({ONE: FlowOwner(1, 2)}, 60)
        lease = await store.claim("before", Address("127.0.0.1", 5000))
        await redis.replicated()
        await redis.lose_master()
        assert await flows.get([ONE]) == {ONE: FlowOwner(1, 2)}
        await flows.put({TWO: FlowOwner(3, 4)}, 60)
        assert await flows.get([TWO]) == {TWO: FlowOwner(3, 4)}
        await store.renew(lease)
        async with aclosing(store.watch()) as watch:
            assert await anext(watch) == Snapshot((lease.node(),))
            after = await store.claim("after", Address("127.0.0.1", 5001))
            assert await anext(watch) == after.node()
        await flows.close()
        await store.close()


async def test_a_follower_hears_the_changes_of_the_new_master(
    make_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """Its subscription was to the dead one; it begins again, and no node is lost."""
    async with service(make_redis, tmp_path) as redis:
        store = RedisStore(redis.url, 7, token_ring, lease_s=600)
        follower = DirectoryFollower(store)
        first = await store.claim("before", Address("127.0.0.1", 5000))
        await redis.replicated()
        heard = asyncio.Event()
        follower.directory.listen(
            lambda nodes: heard.set() if "after" in {node.name for node in nodes} else None
        )
        following = asyncio.create_task(follower.run())
        await redis.lose_master()
        await store.claim("after", Address("127.0.0.1", 5001))
        await heard.wait()
        assert follower.directory.find(first.index) == first.node()
        following.cancel()
        await asyncio.wait({following})
        await store.close()


@pytest.mark.slow
async def test_a_relay_and_its_successor_outlive_a_master(
    make_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    """Old flows are found on the new master, and flows made after the change are written to it."""
    async with service(make_redis, tmp_path) as redis, joined(redis.url) as node:
        place = Place(redis.url)
        with bound("127.0.0.1") as early, bound("127.0.0.1") as late:
            async with place.relay() as relay:
                await checked_in(early, node, place.target)
                await relay.until(lambda stats: stats.total["flow_store_writes"] == 1)
                await redis.replicated()
                await redis.lose_master()
                await media_arrives(early, node, place.target)
                await checked_in(late, node, place.target)
                # Both: after an outage all is written again.
                await relay.until(lambda stats: stats.total["flow_store_writes"] >= 2)
                await kill(relay)
            async with place.relay() as relay:
                await media_arrives(early, node, place.target)
                await media_arrives(late, node, place.target)
                assert (await relay.stats()).total["recovered_redis"] == 2
