"""The component `sentinel`: another server becomes the master, and the fleet goes on with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from fleet.directory.redis_store import RedisStore
from launcher import Stack
from tests.k8s.loopback_cluster import LoopbackCluster
from tests.k8s.manifests import Manifests
from tests.k8s.test_stack import SLOW_MACHINE, place_call
from trunkline.process.address import Address
from wire.keys import KeyRing

ONE_EACH = {"relay": 1, "transceiver": 1, "backend": 1}
LOOK_INTERVAL_S = 0.1


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Return when it is true; nobody tells, so it is asked again and again."""
    while True:
        try:
            if await true():
                return
        except RedisError:  # not up, or not a server any more
            pass
        await asyncio.sleep(LOOK_INTERVAL_S)


async def ask(client: Redis, *command: str) -> Any:
    """The answer to a command that redis-py has no typed method for."""
    return await client.execute_command(*command)


class Servers:
    """Questions to the servers and sentinels of a cluster."""

    def __init__(self, cluster: LoopbackCluster) -> None:
        self._cluster = cluster
        password = cluster.secrets["redis"]["password"]
        self._redis = {
            p.ip: Redis(host=p.ip, port=6379, password=password, decode_responses=True)
            for p in cluster.pods_of("redis")
        }
        self._sentinels = [
            Redis(host=p.ip, port=26379, decode_responses=True) for p in cluster.pods_of("sentinel")
        ]

    async def agree(self) -> bool:
        """Whether each sentinel knows the two others and somebody to put in the master's place."""
        states = [await ask(s, "SENTINEL MASTER trunkline") for s in self._sentinels]
        ready = [s["num-other-sentinels"] == "2" and s["num-slaves"] != "0" for s in states]
        return all(ready) and await self.takes_writes()

    async def takes_writes(self) -> bool:
        """Whether the master has a replica, without which it refuses them."""
        info = await self._redis[await self.master()].info("replication")
        return bool(info.get("min_slaves_good_slaves", 0))

    async def master(self) -> str:
        """Whom all sentinels name; an address of nobody while they differ."""
        named = {
            (await ask(s, "SENTINEL GET-MASTER-ADDR-BY-NAME", "trunkline"))[0]
            for s in self._sentinels
        }
        return str(named.pop()) if len(named) == 1 else ""

    async def role(self, ip: str) -> str:
        return str((await self._redis[ip].info("replication"))["role"])

    async def aclose(self) -> None:
        for client in (*self._redis.values(), *self._sentinels):
            await client.aclose()


@pytest.mark.slow
async def test_a_master_is_lost_and_comes_back_as_a_replica(tmp_path: Path) -> None:
    """Calls are placed before and after, leases are taken from the new master, and the old one
    follows it when it is started again."""
    cluster = LoopbackCluster(Manifests("overlays/sentinel"), tmp_path, ONE_EACH)
    async with (
        aclosing(Servers(cluster)) as servers,
        Stack(SLOW_MACHINE, parts=cluster.redis_parts()) as redis,
    ):
        await until(servers.agree)
        first = await servers.master()
        assert first == cluster.pods_of("redis")[0].ip
        async with Stack(SLOW_MACHINE, parts=cluster.other_parts()):
            await place_call(cluster, 0)
            await redis.stop_part("redis-0")

            async def replaced() -> bool:
                return await servers.master() not in ("", first) and await servers.takes_writes()

            await until(replaced)
            await place_call(cluster, 0)
            await lease(cluster)
            await redis.start_part("redis-0")

            async def follows() -> bool:
                return await servers.role(first) == "slave"

            await until(follows)


async def lease(cluster: LoopbackCluster) -> None:
    """Take a node index, by the URL that transceivers have."""
    (started,) = [s for s in cluster.started() if s.name == "transceiver"]
    settings = cluster.settings_of(started)
    ring = KeyRing.parse(settings["TRUNKLINE_TOKEN_KEYS"])
    store = RedisStore(settings["TRUNKLINE_REDIS_URL"], 0, lambda: ring)
    try:
        taken = await store.claim("another", Address("127.0.0.1", 9))
        assert taken.node() in (await store.snapshot()).nodes
        await store.release(taken)
    finally:
        await store.close()
