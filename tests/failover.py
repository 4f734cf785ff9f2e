"""A Redis service of three processes: a master, its replica, and a sentinel that promotes it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio

from launcher.redis_server import binary
from tests.conftest import RedisServer, free_port

SERVICE = "trunk"
USER, PASSWORD = "edge", "hunter2"
_DOWN_AFTER_MS = 300


@dataclass
class Service:
    """Both servers, and the URL that names their sentinel."""

    master: RedisServer
    replica: RedisServer
    sentinel_port: int

    @property
    def url(self) -> str:
        return f"redis+sentinel://{USER}:{PASSWORD}@127.0.0.1:{self.sentinel_port}/{SERVICE}/0"

    async def replicated(self) -> None:
        """What the master was told so far the replica has too."""
        client = _client(self.master.port)
        assert await client.execute_command("WAIT", 1, 10_000) == 1
        await client.aclose()

    async def lose_master(self) -> None:
        """Kill the master; return when the sentinel has named the replica in its place."""
        sentinel = redis.asyncio.Redis(port=self.sentinel_port, decode_responses=True)
        async with sentinel.pubsub() as news:
            await news.subscribe("+switch-master")
            await news.get_message(timeout=5)
            self.master.stop()
            async for message in news.listen():
                if message["type"] == "message":
                    break
        await sentinel.aclose()


@asynccontextmanager
async def service(
    make_redis: Callable[..., RedisServer], directory: Path
) -> AsyncIterator[Service]:
    """A service that is whole: the replica follows, and the sentinel knows it."""
    rights = ("--user", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
    quick = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
    master = make_redis(*rights, *quick, "--dbfilename", "master.rdb")
    following = ("--replicaof", "127.0.0.1", str(master.port), "--dbfilename", "replica.rdb")
    replica = make_redis(*rights, *following)
    port = free_port()
    configuration = directory / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 1\n"
        f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {SERVICE} 2000\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(str(binary()), str(configuration), "--sentinel"), stdout=subprocess.DEVNULL
    )
    try:
        await _until_whole(port)
        yield Service(master, replica, port)
    finally:
        process.kill()
        await process.wait()


async def _until_whole(sentinel_port: int) -> None:
    client = _client(sentinel_port)
    while not await _is_whole(client):
        await asyncio.sleep(0.05)
    await client.aclose()


async def _is_whole(client: redis.asyncio.Redis) -> bool:
    try:
        [master] = (await client.sentinel_masters()).values()  # type: ignore[union-attr]
        replicas = await client.sentinel_slaves(SERVICE)
    except redis.exceptions.ConnectionError:
        return False  # it is still starting
    linked = [replica for replica in replicas if replica["master-link-status"] == "ok"]
    return bool(linked) and not (master["is_sdown"] or master["is_disconnected"])


def _client(port: int) -> Any:
    return redis.asyncio.Redis(port=port, decode_responses=True)
