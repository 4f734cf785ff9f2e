"""What only the Redis store has: a network, a password, a namespace, foreign entries."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
import redis.asyncio

from fleet.address import Address
from fleet.directory.directory import Snapshot
from fleet.directory.redis_store import RedisStore
from fleet.errors import StoreUnavailable

TRUNK = Address("127.0.0.1", 5000)


async def test_unreachable_is_one_clear_line() -> None:
    """Nobody listens: the error names the place and the reason."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        store = RedisStore(f"redis://user:hunter2@127.0.0.1:{port}/0", 0)
        with pytest.raises(StoreUnavailable) as caught:
            await store.claim("n", TRUNK)
    await store.close()
    expected = f"Redis at 127.0.0.1:{port} cannot be reached (connection refused)"
    assert str(caught.value) == expected


async def test_unknown_host_is_one_clear_line() -> None:
    """A name that does not resolve is no traceback either."""
    store = RedisStore("redis://no-such-host.invalid:6379/0", 0)
    with pytest.raises(StoreUnavailable, match=r"^Redis at no-such-host.invalid:6379 cannot be "):
        await store.snapshot()
    await store.close()


@pytest.mark.parametrize("login", ["", ":wrong-hunter2@", "nobody:wrong-hunter2@"])
async def test_wrong_password_is_one_clear_line(make_redis: Callable[..., Any], login: str) -> None:
    """No password, a wrong one, an unknown user: refused, and the password is not repeated."""
    server = make_redis("--requirepass", "right-hunter2")
    store = RedisStore(server.url.replace("//", f"//{login}"), 0)
    for attempt in (store.snapshot(), store.claim("n", TRUNK), anext(store.watch())):
        with pytest.raises(StoreUnavailable) as caught:
            await attempt
        assert str(caught.value).endswith(f":{server.port} refused the user or password")
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    await store.close()


async def test_right_password_works(make_redis: Callable[..., Any]) -> None:
    """The password in the URL is used."""
    server = make_redis("--requirepass", "right-hunter2")
    store = RedisStore(server.url.replace("//", "//:right-hunter2@"), 0)
    assert await store.snapshot() == Snapshot(())
    await store.close()


async def test_a_refused_write_is_unavailable(make_redis: Callable[..., Any]) -> None:
    """A Redis that answers with an error (full, read-only) counts as unavailable."""
    server = make_redis("--maxmemory", "1")
    store = RedisStore(server.url, 0)
    with pytest.raises(StoreUnavailable, match="answered with an error"):
        await store.claim("n", TRUNK)
    await store.close()


async def test_a_watch_ends_with_the_connection(make_redis: Callable[..., Any]) -> None:
    """Whoever follows learns of the outage, and can watch again when Redis is back."""
    server = make_redis()
    store = RedisStore(server.url, 0)
    async with aclosing(store.watch()) as watch:
        assert await anext(watch) == Snapshot(())
        server.stop()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await anext(watch)
    server.start()
    lease = await store.claim("n", TRUNK)
    async with aclosing(store.watch()) as watch:
        assert await anext(watch) == Snapshot((lease.node(),))
    await store.close()


async def test_the_fleet_comes_back_after_redis_lost_everything(
    make_redis: Callable[..., Any],
) -> None:
    """A restart without persistence: a renewal restores node, index and epoch."""
    server = make_redis()
    store = RedisStore(server.url, 0)
    lease = await store.claim("n", TRUNK)
    server.stop()
    server.start()
    assert await store.snapshot() == Snapshot(())
    await store.renew(lease)
    assert await store.snapshot() == Snapshot((lease.node(),))
    await store.close()


async def test_clusters_do_not_see_each_other(redis_url: str) -> None:
    """Two clusters may share a Redis; each key carries the cluster in literal braces."""
    one, two = RedisStore(redis_url, 1), RedisStore(redis_url, 2)
    await one.claim("n", TRUNK)
    assert await two.snapshot() == Snapshot(())
    assert (await two.claim("n", TRUNK)).index == 0
    raw = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    keys = await raw.keys("*")
    assert len(keys) == 8
    assert {str(key)[:14] for key in keys} == {"trunkline:{1}:", "trunkline:{2}:"}
    for client in (one, two):
        await client.close()
    await raw.aclose()


async def test_a_claim_repeated_after_a_lost_answer_is_the_same_claim(redis_url: str) -> None:
    """The client repeats commands; that must not take two indexes."""
    store = RedisStore(redis_url, 0)
    arguments = ("token", '{"name":"n","trunk":"127.0.0.1:5000","draining":false}', 9999, 9, 7)
    first = await store._run(store._claim, *arguments)
    second = await store._run(store._claim, *arguments)
    assert first == second == [0, 7]
    await store.close()


@pytest.mark.parametrize(
    "record",
    ["", "{", "[]", "7", '{"name":"n"}', '{"name":"n","trunk":7,"draining":0}'],
)
async def test_entries_of_others_are_left_out_and_counted(redis_url: str, record: str) -> None:
    """What this version cannot read hides nobody else."""
    store = RedisStore(redis_url, 0)
    strange, good = [await store.claim("n", TRUNK) for _ in range(2)]
    raw = redis.asyncio.Redis.from_url(redis_url)
    await raw.hset("trunkline:{0}:directory:records", str(strange.index), record)
    assert await store.snapshot() == Snapshot((good.node(),))
    assert store.unreadable == 1
    await raw.aclose()
    await store.close()


@pytest.mark.parametrize("message", ["", "nonsense", "7", "[1,2]", '[70000,1,true,"{}"]', "null"])
async def test_strange_messages_are_skipped_and_counted(redis_url: str, message: str) -> None:
    """Whatever is published on the channel, the watch goes on."""
    store = RedisStore(redis_url, 0)
    raw = redis.asyncio.Redis.from_url(redis_url)
    async with aclosing(store.watch()) as watch:
        await anext(watch)
        await raw.publish("trunkline:{0}:directory:changes", message)
        lease = await store.claim("n", TRUNK)
        assert await anext(watch) == lease.node()
    assert store.unreadable == 1
    await raw.aclose()
    await store.close()


def test_a_bad_url_is_a_value_error_without_the_url() -> None:
    """For callers that bypass the settings."""
    with pytest.raises(ValueError, match="not a Redis URL") as caught:
        RedisStore("http://:hunter2@h", 0)
    assert "hunter2" not in str(caught.value)
