"""What only the Redis store has: a network, a password, a namespace, foreign entries."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.client import PubSub
from redis.exceptions import ResponseError

from fleet.directory.directory import Node, Snapshot
from fleet.directory.node_record import PURPOSE, seal_node
from fleet.directory.redis_store import RedisStore
from fleet.directory.store import Lease
from fleet.errors import LeaseLost, StoreUnavailable
from fleet.seal import Seal
from tests.rings import token_ring
from trunkline.process.address import Address
from wire.keys import KeyRing

TRUNK = Address("127.0.0.1", 5000)


async def test_unreachable_is_one_clear_line() -> None:
    """Nobody listens: the error names the place and the reason."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        store = RedisStore(f"redis://user:hunter2@127.0.0.1:{port}/0", 0, token_ring)
        with pytest.raises(StoreUnavailable) as caught:
            await store.claim("n", TRUNK)
    await store.close()
    expected = f"Redis at 127.0.0.1:{port} cannot be reached (connection refused)"
    assert str(caught.value) == expected


async def test_unknown_host_is_one_clear_line() -> None:
    """A name that does not resolve is no traceback either."""
    store = RedisStore("redis://no-such-host.invalid:6379/0", 0, token_ring)
    with pytest.raises(StoreUnavailable, match=r"^Redis at no-such-host.invalid:6379 cannot be "):
        await store.snapshot()
    await store.close()


@pytest.mark.parametrize("login", ["", ":wrong-hunter2@", "nobody:wrong-hunter2@"])
async def test_wrong_password_is_one_clear_line(make_redis: Callable[..., Any], login: str) -> None:
    """No password, a wrong one, an unknown user: refused, and the password is not repeated."""
    server = make_redis("--requirepass", "right-hunter2")
    store = RedisStore(server.url.replace("//", f"//{login}"), 0, token_ring)
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
    store = RedisStore(server.url.replace("//", "//:right-hunter2@"), 0, token_ring)
    assert await store.snapshot() == Snapshot(())
    await store.close()


async def test_a_refused_write_is_unavailable(make_redis: Callable[..., Any]) -> None:
    """A Redis that answers with an error (full, read-only) counts as unavailable."""
    server = make_redis("--maxmemory", "1")
    store = RedisStore(server.url, 0, token_ring)
    with pytest.raises(StoreUnavailable, match="answered with an error"):
        await store.claim("n", TRUNK)
    await store.close()


async def test_a_watch_ends_with_the_connection(make_redis: Callable[..., Any]) -> None:
    """Whoever follows learns of the outage, and can watch again when Redis is back."""
    server = make_redis()
    store = RedisStore(server.url, 0, token_ring)
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
    store = RedisStore(server.url, 0, token_ring)
    lease = await store.claim("n", TRUNK)
    server.stop()
    server.start()
    assert await store.snapshot() == Snapshot(())
    await store.renew(lease)
    assert await store.snapshot() == Snapshot((lease.node(),))
    await store.close()


async def test_clusters_do_not_see_each_other(redis_url: str) -> None:
    """Two clusters may share a Redis; each key carries the cluster in literal braces."""
    one, two = RedisStore(redis_url, 1, token_ring), RedisStore(redis_url, 2, token_ring)
    await one.claim("n", TRUNK)
    assert await two.snapshot() == Snapshot(())
    assert len((await one.snapshot()).nodes) == 1
    await two.claim("n", TRUNK)
    raw = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    keys = await raw.keys("*")
    assert len(keys) == 10
    assert {str(key)[:14] for key in keys} == {"trunkline:{1}:", "trunkline:{2}:"}
    for client in (one, two):
        await client.close()
    await raw.aclose()


async def test_a_claim_repeated_after_a_lost_answer_is_the_same_claim(redis_url: str) -> None:
    """The client repeats commands; that must not take two indexes."""
    store = RedisStore(redis_url, 0, token_ring)
    arguments = ("token", 9999, 9, 0, 7)
    first = await store._run(store._claim, *arguments)
    second = await store._run(store._claim, *arguments)
    assert first == second == [0, 7]
    await store.close()


def sealed(at_s: float = 0.0, cluster: int = 0, ring: KeyRing | None = None, **other: Any) -> str:
    """A record of node 7 as a process would write it now, or as `other` says."""
    fields: dict[str, Any] = {"index": 7, "epoch": 1, "trunk": TRUNK, "name": "n", **other}
    at_ms = int((time.time() + at_s) * 1000)
    seal = Seal(lambda: ring or token_ring(), PURPOSE, cluster)
    return seal_node(seal, Node(**fields, at_ms=at_ms))


STRANGE = [
    *("", "{", "[]", "7", "[" * 3000, "1.", "1.AAAA", "77.AAAA", "x" * 5000, "\udcff"),
    '{"index":7,"epoch":1,"trunk":"127.0.0.1:5000","name":"n","draining":false,"live":true}',
    sealed(cluster=1),
    sealed(ring=KeyRing(1, {1: b"x" * 32})),
    sealed(at_s=-3600),
    sealed(at_s=3600),
    Seal(token_ring, "flow", 0).seal(PURPOSE.encode(), b"{}"),
    Seal(token_ring, PURPOSE, 0).seal(PURPOSE.encode(), b"[" * 500),
    Seal(token_ring, PURPOSE, 0).seal(PURPOSE.encode(), b'{"index":[1]}'),
]


@pytest.mark.parametrize("record", [*STRANGE, "good", "gone"])
async def test_what_is_no_record_is_left_out_and_counted(redis_url: str, record: str) -> None:
    """It hides nobody else, a good record in another's place included."""
    store = RedisStore(redis_url, 0, token_ring, random_below=lambda _: 0)
    strange, good = [await store.claim("n", TRUNK) for _ in range(2)]
    raw = redis.asyncio.Redis.from_url(redis_url, encoding_errors="surrogateescape")
    record = {"good": sealed(), "gone": sealed(index=0, live=False)}.get(record, record)
    await raw.hset("trunkline:{0}:directory:records", str(strange.index), record)
    assert await store.snapshot() == Snapshot((good.node(),))
    assert store.unreadable == 1
    await store.renew(strange)
    assert await store.snapshot() == Snapshot((strange.node(), good.node()))
    await raw.aclose()
    await store.close()


@pytest.mark.parametrize("message", STRANGE)
async def test_strange_messages_are_skipped_and_counted(redis_url: str, message: str) -> None:
    """Whatever is published on the channel, the watch goes on."""
    store = RedisStore(redis_url, 0, token_ring)
    raw = redis.asyncio.Redis.from_url(redis_url, encoding_errors="surrogateescape")
    async with aclosing(store.watch()) as watch:
        await anext(watch)
        await raw.publish("trunkline:{0}:directory:changes", message)
        lease = await store.claim("n", TRUNK)
        assert await anext(watch) == lease.node()
    assert store.unreadable == 1
    await raw.aclose()
    await store.close()


KEYS = ["holders", "records", "epochs", "expiry", "states"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "command",
    [
        *(("SET", "x"), ("LPUSH", "x"), ("SADD", "x"), ("XADD", "*", "x", "x"), ("DEL",)),
        *(
            ("HSET", field, value)
            for field in ("0", "-1", "9" * 30, "x")
            for value in ("", "x", "1")
        ),
        *(("ZADD", score, member) for score in ("inf", "1e308", "-inf") for member in ("0", "x")),
    ],
)
async def test_no_key_can_be_made_to_hurt(redis_url: str, key: str, command: tuple[str]) -> None:
    """Another type, odd fields, odd numbers: whoever holds a lease keeps it, and others get one."""
    store = RedisStore(redis_url, 0, token_ring, random_below=lambda _: 0)
    lease = await store.claim("n", TRUNK)
    raw = redis.asyncio.Redis.from_url(redis_url)
    name, *arguments = command  # type: ignore[var-annotated]
    with suppress(ResponseError):  # a field command on a key of another type
        await raw.execute_command(name, f"trunkline:{{0}}:directory:{key}", *arguments)
    await store.snapshot()
    await store.renew(lease)
    assert lease.node() in (await store.snapshot()).nodes
    other = await store.claim("m", TRUNK)
    assert other.index != lease.index
    assert {lease.node(), other.node()} <= set((await store.snapshot()).nodes)
    await raw.aclose()
    await store.close()


async def test_a_lease_is_lost_only_to_somebody_with_a_record(redis_url: str) -> None:
    """A name that somebody wrote beside an index, or an epoch, takes it from nobody."""
    store = RedisStore(redis_url, 0, token_ring, random_below=lambda _: 0)
    raw = redis.asyncio.Redis.from_url(redis_url)
    lease = await store.claim("n", TRUNK)
    for key, value in (("holders", "thief"), ("epochs", str(lease.epoch + 1))):
        await raw.hset(f"trunkline:{{0}}:directory:{key}", str(lease.index), value)
        await store.renew(lease)
        assert await store.snapshot() == Snapshot((lease.node(),))
    assert store.contested == 2
    rival = await _taken(store, raw, lease)
    with pytest.raises(LeaseLost):
        await store.renew(lease)
    assert await store.snapshot() == Snapshot((rival.node(),))
    await raw.aclose()
    await store.close()


async def _taken(store: RedisStore, raw: redis.asyncio.Redis, lease: Lease) -> Lease:
    """The next owner of an index whose lease ran out."""
    await raw.zadd("trunkline:{0}:directory:expiry", {str(lease.index): 1})
    return await store.claim("rival", TRUNK)


async def test_who_reads_redis_learns_nothing_of_a_node(redis_url: str) -> None:
    """Neither names nor addresses of the inner network, in no key and in no message."""
    store = RedisStore(redis_url, 0, token_ring)
    raw = redis.asyncio.Redis.from_url(redis_url)
    pubsub = raw.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe("trunkline:{0}:directory:changes")
    inner = Address("10.11.12.13", 8080)
    lease = await store.claim("secret-host", Address("10.11.12.13", 5000), inner, inner)
    heard = [m async for m in _messages(pubsub, 1)]
    dumped = [await raw.dump(key) for key in await raw.keys("*")]
    text = b"".join([*heard, *(value or b"" for value in dumped)])
    assert heard
    assert not [word for word in (b"secret-host", b"10.11", b"5000", b"8080") if word in text]
    await store.release(lease)
    await pubsub.aclose()
    await raw.aclose()
    await store.close()


async def _messages(pubsub: PubSub, count: int) -> AsyncIterator[bytes]:
    while count:
        message = await pubsub.get_message(timeout=5)
        if message:
            count -= 1
            yield message["data"]


def test_a_bad_url_is_a_value_error_without_the_url() -> None:
    """For callers that bypass the settings."""
    with pytest.raises(ValueError, match="not a Redis URL") as caught:
        RedisStore("http://:hunter2@h", 0, token_ring)
    assert "hunter2" not in str(caught.value)
