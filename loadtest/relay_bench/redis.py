"""A private Redis for the length of a benchmark."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio
from redis.exceptions import RedisError

from launcher import StartupError
from launcher.redis_server import binary, configuration
from loadtest.relay_bench.family import leashed
from loadtest.relay_bench.sockets import LOOPBACK, free_port

START_TIMEOUT_S = 10.0


@asynccontextmanager
async def private_redis() -> AsyncIterator[str]:
    """Yield the URL of a Redis of our own. Raises StartupError."""
    with tempfile.TemporaryDirectory(prefix="trunkline-bench-") as name:
        directory, port = Path(name), free_port(socket.SOCK_STREAM)
        config = directory / "redis.conf"
        config.write_text(configuration(port, "bench", directory))
        process = _start(config)
        url = f"redis://:bench@{LOOPBACK}:{port}/0"
        try:
            await _until_answers(url)
            yield url
        finally:
            process.terminate()
            process.wait()


def _start(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(leashed([str(binary()), str(config)]), stdout=subprocess.DEVNULL)


async def _until_answers(url: str) -> None:
    ends_at = time.monotonic() + START_TIMEOUT_S
    async with redis.asyncio.Redis.from_url(url) as client:
        while True:
            try:
                await client.ping()
                return
            except (RedisError, OSError):
                if time.monotonic() > ends_at:
                    raise StartupError("redis: does not answer") from None
            await asyncio.sleep(0.02)


async def writes(url: str) -> int:
    """How often this Redis has changed a key since it started."""
    async with redis.asyncio.Redis.from_url(url) as client:
        return int((await client.info("persistence"))["rdb_changes_since_last_save"])


async def forget_everything(url: str) -> None:
    """Empty it, as a Redis that came back without its data."""
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.flushall()
