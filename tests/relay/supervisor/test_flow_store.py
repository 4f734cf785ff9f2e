"""One contract for the store of flows, held in memory and in a real Redis; URLs of all kinds."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from fleet.directory.directory import Snapshot
from fleet.directory.redis_store import RedisStore
from fleet.errors import StoreUnavailable
from fleet.fields import _redis_url
from fleet.redis_url import MAX_SENTINELS, parse_sentinel
from launcher.redis_server import binary
from relay.shared.nodes import FlowOwner
from relay.supervisor.flow_store import FlowStore, MemoryFlowStore, RedisFlowStore
from tests.conftest import RedisServer, free_port
from tests.rings import token_ring
from wire.address import pack_address
from wire.keys import KeyRing

ONE = pack_address("192.0.2.1", 4000)
TWO = pack_address("2001:db8::2", 65535)


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[FlowStore]:
    """An empty store of either kind."""
    made: FlowStore = (
        MemoryFlowStore()
        if request.param == "memory"
        else RedisFlowStore(request.getfixturevalue("redis_url"), 7, token_ring, answer_timeout_s=2)
    )
    yield made
    await made.close()


async def test_what_was_put_is_found(store: FlowStore) -> None:
    """Owners of both address families, at the ends of their ranges."""
    await store.put({ONE: FlowOwner(0, 65535), TWO: FlowOwner(65535, 0)}, 60)
    assert await store.get([TWO, ONE]) == {ONE: FlowOwner(0, 65535), TWO: FlowOwner(65535, 0)}


async def test_what_was_not_put_is_left_out(store: FlowStore) -> None:
    """Unknown addresses are not in the answer; no address, no answer."""
    await store.put({ONE: FlowOwner(1, 2)}, 60)
    assert await store.get([TWO, ONE]) == {ONE: FlowOwner(1, 2)}
    assert await store.get([]) == {}
    await store.put({}, 60)


async def test_the_newest_wins(store: FlowStore) -> None:
    """A second put replaces the first."""
    await store.put({ONE: FlowOwner(1, 2)}, 60)
    await store.put({ONE: FlowOwner(3, 4)}, 60)
    assert await store.get([ONE]) == {ONE: FlowOwner(3, 4)}


async def test_memory_entries_expire() -> None:
    """After its time an address is nobody's."""
    now = 0.0
    store = MemoryFlowStore(now=lambda: now)
    await store.put({ONE: FlowOwner(1, 2)}, 60)
    now = 60.0
    assert await store.get([ONE]) == {}


async def test_memory_is_bounded() -> None:
    """The address written longest ago goes first."""
    store = MemoryFlowStore(capacity=2)
    for address in (ONE, TWO, ONE, bytes(18)):
        await store.put({address: FlowOwner(1, 2)}, 60)
    assert set(await store.get([ONE, TWO, bytes(18)])) == {ONE, bytes(18)}


async def test_redis_keys_carry_cluster_and_expire(redis_url: str) -> None:
    """Names as the directory's, a time to live on each, and clusters apart."""
    store, other = (RedisFlowStore(redis_url, n, token_ring, answer_timeout_s=2) for n in (7, 8))
    await store.put({ONE: FlowOwner(1, 2)}, 75)
    raw = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    [key] = await raw.keys("*")
    assert key.startswith("trunkline:{7}:flow:")  # type: ignore[arg-type]
    assert ONE[12:16].hex() not in key
    assert 70 < await raw.ttl(key) <= 75
    assert await other.get([ONE]) == {}
    for client in (store, other):
        await client.close()
    await raw.aclose()


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        *(
            ("SET", [value])
            for value in ("1:2", "1.", "1.AAAA", "99.AAAA", "x" * 5000, b"\xff\xfe")
        ),
        ("LPUSH", ["1"]),
        ("HSET", ["a", "b"]),
        ("SADD", ["a"]),
        ("ZADD", ["inf", "a"]),
        ("XADD", ["*", "a", "b"]),
    ],
)
async def test_strange_values_are_nobodys_and_counted(
    redis_url: str, command: str, arguments: list[str | bytes]
) -> None:
    """Whatever stands in the place of an entry hides no other, and the next write puts it right."""
    store = RedisFlowStore(redis_url, 7, token_ring, answer_timeout_s=2)
    raw = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    await store.put({ONE: FlowOwner(1, 2)}, 60)
    [key] = await raw.keys("*")
    await store.put({TWO: FlowOwner(3, 4)}, 60)
    await raw.delete(key)
    await raw.execute_command(command, key, *arguments)
    assert await store.get([ONE, TWO]) == {TWO: FlowOwner(3, 4)}
    assert store.unreadable == 1
    await store.put({ONE: FlowOwner(1, 2)}, 60)
    assert await store.get([ONE]) == {ONE: FlowOwner(1, 2)}
    await raw.aclose()
    await store.close()


async def test_an_entry_is_good_in_its_own_place_and_time_alone(redis_url: str) -> None:
    """Not under another address, not in another cluster, not with another key, not long after."""
    now_s = [1000.0]
    store = RedisFlowStore(redis_url, 7, token_ring, unix_s=lambda: now_s[0])
    raw = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    await store.put({ONE: FlowOwner(1, 2)}, 60)
    [one] = await raw.keys("*")
    sealed = await raw.get(one)
    await store.put({TWO: FlowOwner(3, 4)}, 60)
    [two] = [key for key in await raw.keys("*") if key != one]
    await raw.set(two, sealed)  # type: ignore[arg-type]
    assert await store.get([ONE, TWO]) == {ONE: FlowOwner(1, 2)}
    stranger = RedisFlowStore(redis_url, 8, token_ring, unix_s=lambda: now_s[0])
    await raw.set(stranger._names(ONE)[0], sealed)  # type: ignore[arg-type]
    assert await stranger.get([ONE]) == {}
    now_s[0] += 60 + 31
    assert await store.get([ONE]) == {}
    assert (store.unreadable, stranger.unreadable) == (2, 1)
    await raw.aclose()
    for client in (store, stranger):
        await client.close()


async def test_entries_outlive_a_rotation_of_keys(redis_url: str) -> None:
    """While the ring has the key that an entry was sealed with, it is found and read."""
    old, new = {1: b"o" * 32}, {2: b"n" * 32}
    rings = [KeyRing(1, old), KeyRing(1, old | new), KeyRing(2, new | old), KeyRing(2, new)]
    ring = [rings[0]]
    store = RedisFlowStore(redis_url, 7, lambda: ring[0], answer_timeout_s=2)
    await store.put({ONE: FlowOwner(1, 2)}, 60)
    seen = []
    for ring[0] in rings:
        seen.append(await store.get([ONE]))
    assert seen == [{ONE: FlowOwner(1, 2)}] * 3 + [{}]
    await store.close()


async def test_redis_away_is_one_clear_line() -> None:
    """No repeats, no traceback: who asks has something better to do."""
    port = free_port()
    store = RedisFlowStore(f"redis://127.0.0.1:{port}/0", 7, token_ring)
    for attempt in (store.get([ONE]), store.put({ONE: FlowOwner(1, 2)}, 60)):
        with pytest.raises(
            StoreUnavailable, match=rf"^Redis at 127.0.0.1:{port} cannot be reached"
        ):
            await attempt
    await store.close()


async def test_an_error_of_redis_is_unavailable(make_redis: Callable[..., Any]) -> None:
    """A full Redis refuses writes: named, not raised through."""
    store = RedisFlowStore(make_redis("--maxmemory", "1").url, 7, token_ring, answer_timeout_s=2)
    with pytest.raises(StoreUnavailable, match="answered with an error"):
        await store.put({ONE: FlowOwner(1, 2)}, 60)
    await store.close()


async def test_a_user_with_rights_to_our_keys_is_enough(make_redis: Callable[..., Any]) -> None:
    """ACL: a user bound to trunkline:* can do all that relays and transceivers do."""
    server = make_redis()
    raw = redis.asyncio.Redis.from_url(server.url)
    await raw.execute_command(
        *(
            "ACL",
            "SETUSER",
            "edge",
            "on",
            ">hunter2:@",
            "~trunkline:*",
            "resetchannels",
            "&trunkline:*",
            "+@all",
        )
    )
    await raw.execute_command("ACL", "SETUSER", "reader", "on", ">r", "~trunkline:*", "+get")
    await raw.execute_command("ACL", "SETUSER", "default", "off")
    await raw.aclose()
    url = server.url.replace("//", "//edge:hunter2%3A%40@")
    flows, directory = (
        RedisFlowStore(url, 7, token_ring, answer_timeout_s=2),
        RedisStore(url, 7, token_ring),
    )
    await flows.put({ONE: FlowOwner(1, 2)}, 60)
    assert await flows.get([ONE]) == {ONE: FlowOwner(1, 2)}
    assert await directory.snapshot() == Snapshot(())
    await flows.close()
    await directory.close()
    for login in ("reader:r", "edge:wrong", "nobody:x"):
        poor = RedisFlowStore(
            server.url.replace("//", f"//{login}@"), 7, token_ring, answer_timeout_s=2
        )
        with pytest.raises(StoreUnavailable, match="refused the user or password") as caught:
            await poor.put({ONE: FlowOwner(1, 2)}, 60)
        assert login.split(":")[1] not in str(caught.value).split("refused")[0].split("at ")[0]
        await poor.close()


@contextmanager
def sentinel(directory: Path, master_port: int) -> Iterator[int]:
    """A real sentinel that watches a master as `trunk`; yields its port."""
    port = free_port()
    configuration = directory / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
        f"sentinel monitor trunk 127.0.0.1 {master_port} 1\n"
        "sentinel auth-user trunk edge\nsentinel auth-pass trunk hunter2\n"
    )
    process = subprocess.Popen(
        [str(binary()), str(configuration), "--sentinel"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert any("+monitor" in line for line in process.stdout)
        yield port
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


async def until_watched(port: int) -> None:
    """The sentinel has heard from its master."""
    raw = redis.asyncio.Redis(port=port, decode_responses=True)
    while True:
        [state] = (await raw.sentinel_masters()).values()  # type: ignore[union-attr]
        if state["is_master"] and not state["is_sdown"] and not state["is_disconnected"]:
            break
        await asyncio.sleep(0.05)
    await raw.aclose()


async def test_sentinels_name_the_master(make_redis: Callable[..., Any], tmp_path: Path) -> None:
    """The first sentinel is dead, the second answers; user and password are the master's."""
    master: RedisServer = make_redis("--user", "edge", "on", ">hunter2", "~*", "&*", "+@all")
    with sentinel(tmp_path, master.port) as port:
        await until_watched(port)
        places = f"127.0.0.1:{free_port()},127.0.0.1:{port}"
        url = f"redis+sentinel://edge:hunter2@{places}/trunk/0"
        flows, directory = (
            RedisFlowStore(url, 7, token_ring, answer_timeout_s=2),
            RedisStore(url, 7, token_ring),
        )
        await flows.put({ONE: FlowOwner(1, 2)}, 60)
        assert await flows.get([ONE]) == {ONE: FlowOwner(1, 2)}
        assert await directory.snapshot() == Snapshot(())
        await flows.close()
        await directory.close()
        lost = RedisFlowStore(url.replace("/trunk/", "/other/"), 7, token_ring, answer_timeout_s=2)
        with pytest.raises(StoreUnavailable) as caught:
            await lost.get([ONE])
        place = f"Redis at service other of sentinels {places.replace(',', ', ')}"
        assert str(caught.value) == f"{place} has no master that is up"
        await lost.close()


def test_a_sentinel_url_is_read() -> None:
    """Scheme, login, places with and without a port, service, database."""
    url = parse_sentinel("rediss+sentinel://u:p%40ss@h1:1,[2001:db8::1]:2,h3/svc/5")
    assert url.sentinels == (("h1", 1), ("2001:db8::1", 2), ("h3", 26379))
    assert (url.service, url.db, url.tls) == ("svc", 5, True)
    assert (url.username, url.password) == ("u", "p@ss")
    assert "p@ss" not in repr(url)
    bare = parse_sentinel("redis+sentinel://h/svc")
    assert (bare.db, bare.tls, bare.username, bare.password) == (0, False, None, None)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h1:1",
        "redis+sentinel://h1:1/",
        "redis+sentinel:///svc/0",
        "redis+sentinel://u:hunter2@/svc/0",
        "redis+sentinel://u:hunter2@h:70000/svc/0",
        "redis+sentinel://u:hunter2@h:0/svc/0",
        "redis+sentinel://u:hunter2/x@h:1,,h:2/svc/0",
        "redis+sentinel://u:hunter2@h:1/svc/0/more",
        "redis+sentinel://u:hunter2@h:1/svc/99999",
        "redis+sentinel://" + ",".join(["hunter2"] * (MAX_SENTINELS + 1)) + "/svc/0",
    ],
)
def test_a_bad_sentinel_url_is_one_rule_without_the_url(url: str) -> None:
    """From settings and from the store alike, no part of the URL is repeated."""
    from pydantic import SecretStr

    with pytest.raises(ValueError, match="not a Redis address") as caught:
        _redis_url(SecretStr(url))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ValueError, match="not a Redis URL") as from_store:
        RedisFlowStore(url, 0, token_ring)
    assert "hunter2" not in str(from_store.value)


def test_good_urls_are_taken() -> None:
    """What the documentation shows passes the settings."""
    from pydantic import SecretStr

    for url in (
        "redis://h:6379/0",
        "rediss://u:p@h:6379/0",
        "redis+sentinel://h1:26379,h2:26379/service/0",
        "rediss+sentinel://u:p@h1/service",
    ):
        assert _redis_url(SecretStr(url)).get_secret_value() == url


async def test_tls_is_spoken(tmp_path: Path) -> None:
    """rediss:// opens with a TLS handshake: the first byte is a handshake record's."""
    first: asyncio.Future[bytes] = asyncio.Future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read(1)
        if not first.done():
            first.set_result(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, family=socket.AF_INET)
    port = server.sockets[0].getsockname()[1]
    store = RedisFlowStore(f"rediss://127.0.0.1:{port}/0", 7, token_ring, answer_timeout_s=2)
    with pytest.raises(StoreUnavailable):
        await store.get([ONE])
    assert await first == b"\x16"
    await store.close()
    server.close()
    await server.wait_closed()
