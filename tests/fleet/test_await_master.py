"""A start during a failover waits for the new master, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.await_master import FAILOVER_S, after_failover
from fleet.directory.directory import Snapshot
from fleet.directory.redis_store import RedisStore
from fleet.errors import NoMaster, StoreUnavailable
from tests.conftest import RedisServer
from tests.failover import service
from tests.rings import token_ring
from tests.virtual_time import Run
from trunkline.process.address import Address

TRUNK = Address("127.0.0.1", 5000)


class Asked:
    """A store that has a master, or whatever `then` says, from the n-th question on."""

    def __init__(self, nth: int, then: Exception | None = None) -> None:
        self._nth, self._then = nth, then
        self.times = 0

    async def __call__(self) -> str:
        self.times += 1
        if self.times < self._nth:
            raise NoMaster("Redis at service trunk has no master that is up")
        if self._then is not None:
            raise self._then
        return "answer"


def test_it_asks_until_there_is_a_master(run: Run) -> None:
    """Questions that meet no master are repeated."""
    asked = Asked(5)

    async def start() -> None:
        assert await after_failover(asked) == "answer"

    run(start())
    assert asked.times == 5


def test_it_gives_up(run: Run) -> None:
    """A service that never finds a master keeps nobody from hearing of it."""
    asked = Asked(1 << 30)

    async def start() -> None:
        with pytest.raises(NoMaster):
            await after_failover(asked)

    run(start())
    assert 1 < asked.times < 10 * FAILOVER_S


def test_other_failures_are_said_at_once(run: Run) -> None:
    """A refused password will not be better in ten seconds."""
    asked = Asked(1, StoreUnavailable("Redis at h:1 refused the user or password"))

    async def start() -> None:
        with pytest.raises(StoreUnavailable, match="refused"):
            await after_failover(asked)

    run(start())
    assert asked.times == 1


async def test_a_real_failover(make_redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    """Begun when the master has just died and its sentinel has not even noticed."""
    async with service(make_redis, tmp_path) as redis:
        redis.master.stop()
        store = RedisStore(redis.url, 7, token_ring)
        lease = await after_failover(lambda: store.claim("n", TRUNK), within_s=60)
        assert await store.snapshot() == Snapshot((lease.node(),))
        await store.close()
