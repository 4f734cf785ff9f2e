"""Somebody reads all of Redis and writes what he likes, while a real call goes on beside him."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from fleet.directory.redis_store import RedisStore
from launcher.stack import Stack, StackSettings
from loadtest.target import Target
from tests.conftest import RedisServer
from tests.integration.libwebrtc_caller import LibwebrtcCaller
from transceiver.call.call_id import new_call_id
from wire.address import V4_MAPPED_PREFIX
from wire.keys import KeyRing

TIMEOUT_S = 60.0
HOST = "127.0.0.2"  # the attacker's; the fleet and its caller are on 127.0.0.1
NODE = 4321  # the index that the attacker would have
KINDS = ("directory:holders", "directory:records", "directory:epochs", "directory:expiry")
KINDS += ("directory:states", "ledger:changes", "ledger:seen", "flow:" + "0" * 32)  # type: ignore[assignment]


class Trap:
    """A host of the attacker's: whatever reaches it, by UDP or TCP, is what may not be."""

    def __init__(self) -> None:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((HOST, 0))
        self.udp.setblocking(False)
        self.port = self.udp.getsockname()[1]
        self.tcp = socket.create_server((HOST, self.port))
        self.tcp.setblocking(False)

    @property
    def sprung(self) -> bool:
        with suppress(BlockingIOError):
            self.udp.recv(2000)
            return True
        with suppress(BlockingIOError):
            self.tcp.accept()
            return True
        return False

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


@dataclass
class Attacker:
    """All rights in Redis, none of the fleet's keys. `seen` is everything that stood there."""

    redis: Redis
    trap: Trap
    seen: set[bytes] = field(default_factory=set)

    async def read(self) -> None:
        """Every key, and every value of whatever type."""
        for key in await self.redis.keys("*"):
            self.seen.add(key)  # type: ignore[arg-type]
            self.seen.add(await self.redis.dump(key) or b"")
            with suppress(ResponseError):
                self.seen.update(map(_bytes, await self.redis.hgetall(key)))
                self.seen.update(map(_bytes, (await self.redis.hgetall(key)).values()))
            with suppress(ResponseError):
                self.seen.update(map(_bytes, await self.redis.zrange(key, 0, -1)))
            with suppress(ResponseError):
                self.seen.add(_bytes(await self.redis.get(key) or b""))

    async def keys(self) -> list[str]:
        """What is there, and what could be."""
        there = {key.decode(errors="replace") for key in await self.redis.keys("*")}  # type: ignore[union-attr]
        return sorted(there | {f"trunkline:{{0}}:{kind}" for kind in KINDS})

    async def do(self, key: str, *command: str | bytes) -> None:
        with suppress(ResponseError):  # a field command on a key of another type
            await self.redis.execute_command(command[0], key, *command[1:])

    async def publish(self, message: str | bytes) -> None:
        for channel in await self.redis.pubsub_channels():
            await self.redis.publish(channel, message)

    @property
    def record(self) -> str:
        """A node on the attacker's host, as one would write it who has read the source."""
        host = f"{HOST}:{self.trap.port}"
        addresses = {"trunk": host, "admin": host, "http": host}
        state = {"draining": False, "live": True, "load": [0, 100], "at_ms": 1 << 50}
        return json.dumps({"index": NODE, "epoch": 1, "name": "evil", **addresses, **state})


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


async def _types(attacker: Attacker, key: str) -> None:
    for command in (("SET", "x"), ("LPUSH", "x"), ("SADD", "x"), ("XADD", "*", "x", "x")):
        await attacker.do(key, "DEL")
        await attacker.do(key, *command)


async def _wrong_hashes(attacker: Attacker, key: str) -> None:
    for name, text in itertools.product(("0", "-1", "x", "9" * 40, KEY_ID), ODD):
        await attacker.do(key, "HSET", name, text)


async def _odd_values(attacker: Attacker, key: str) -> None:
    fields = await attacker.redis.hkeys(key) if await _is(attacker, key, "hash") else []
    for name, text in itertools.product(fields, ODD):
        await attacker.do(key, "HSET", name, text)
    if await _is(attacker, key, "string"):
        await attacker.do(key, "SET", b"\xff" * 5000)


async def _odd_scores(attacker: Attacker, key: str) -> None:
    if await _is(attacker, key, "zset"):
        for member in await attacker.redis.zrange(key, 0, -1):
            for score in ("inf", "-inf", "1e308", "0"):
                await attacker.do(key, "ZADD", score, member)  # type: ignore[arg-type]
        for number in range(2000):
            await attacker.do(key, "ZADD", "1e15", str(number))


async def _own_nodes(attacker: Attacker, key: str) -> None:
    """In every field, among the leases, and on the channel."""
    await attacker.do(key, "HSET", str(NODE), attacker.record)
    await attacker.do(key, "ZADD", "1e15", str(NODE))
    for index in await attacker.redis.hkeys(key) if await _is(attacker, key, "hash") else []:
        await attacker.do(key, "HSET", index, attacker.record)
    await attacker.publish(attacker.record)
    await attacker.publish(json.dumps([NODE, 1, True, attacker.record]))


async def _moved_records(attacker: Attacker, key: str) -> None:
    """Good records in the places of others, also on the channel, and with leases that never end."""
    if await _is(attacker, key, "hash"):
        for name, value in (await attacker.redis.hgetall(key)).items():
            for other in ("0", "1", "65535", str(NODE)):
                await attacker.do(key, "HSET", other, value)
                await attacker.do("trunkline:{0}:directory:expiry", "ZADD", "1e15", other)
            await attacker.publish(value)
            await attacker.publish(_bytes(name))


async def _thieves(attacker: Attacker, key: str) -> None:
    """Another owner, or another epoch, beside every index."""
    for index in await attacker.redis.hkeys(key) if await _is(attacker, key, "hash") else []:
        await attacker.do(key, "HSET", index, "12345")


async def _noise(attacker: Attacker, key: str) -> None:
    for text in ODD:
        await attacker.publish(text)


async def _gone(attacker: Attacker, key: str) -> None:
    await attacker.do(key, "DEL")


async def _is(attacker: Attacker, key: str, kind: str) -> bool:
    return bool(await attacker.redis.type(key) == kind.encode())


KEY_ID = "key/*"
ODD: tuple[str | bytes, ...] = (
    *("", "[1]", "{}", "null", "nan", "-1", "1e308", "9" * 400, "[" * 3000, "x" * 100_000),
    *(b"\xff\xfe\x00", b"\x00" * 100, "1.AAAA", "0.", "calls=1"),
)
WAYS: tuple[Callable[[Attacker, str], Any], ...] = (
    *(_types, _wrong_hashes, _odd_values, _odd_scores, _own_nodes, _moved_records, _thieves),
    *(_noise, _gone),
)


@dataclass
class Scene:
    stack: Stack
    attacker: Attacker
    store: RedisStore
    caller: LibwebrtcCaller
    http: aiohttp.ClientSession

    async def healed(self) -> None:
        """One node is in the directory again, as everybody reads it who has the keys."""
        async with asyncio.timeout(TIMEOUT_S):
            while not (await self.store.snapshot()).nodes:
                await asyncio.sleep(0.05)

    def pids(self) -> list[int]:
        return [self.stack.parts[name].pid for name in ("relay", "transceiver", "backend")]


@asynccontextmanager
async def _scene(server: RedisServer) -> AsyncIterator[Scene]:
    variables = {
        "TRUNKLINE_REDIS_URL": server.url,
        "TRUNKLINE_TRANSCEIVER_LIMITS": "key/*: calls=50 rate=50 tokens=100000",
    }
    async with (
        Stack(StackSettings(variables, ready_timeout_s=TIMEOUT_S)) as stack,
        aiohttp.ClientSession() as http,
    ):
        ring = KeyRing.parse(stack.variables["TRUNKLINE_TOKEN_KEYS"])
        store = RedisStore(server.url, 0, lambda: ring)
        redis, trap = Redis.from_url(server.url), Trap()
        caller = LibwebrtcCaller(http, Target(stack.console_url, stack.api_key))
        try:
            yield Scene(stack, Attacker(redis, trap), store, caller, http)
        finally:
            await caller.close()
            await redis.aclose()
            await store.close()
            trap.close()


@pytest.mark.timeout(400)
async def test_a_call_goes_on_beside_whoever_owns_redis(make_redis: Callable[..., Any]) -> None:
    """Nothing ends, nothing is sent to the attacker's host, and nothing worth a secret is read."""
    async with _scene(make_redis()) as scene:
        stack, attacker, caller = scene.stack, scene.attacker, scene.caller
        await caller.connect()
        await caller.message("before")
        pids = scene.pids()
        for way in WAYS:
            await attacker.read()
            for key in await attacker.keys():
                await way(attacker, key)
            await caller.message(way.__name__)
            await _ask_about_a_foreign_call(scene)
            await scene.healed()
        await caller.message("after")
        assert scene.pids() == pids
        assert [stack.parts[name].restarts for name in ("relay", "transceiver")] == [0, 0]
        await _restart_poisoned(scene)
        assert not attacker.trap.sprung
        assert not [line for line in stack.log.lines if "Traceback" in line or "xception" in line]
        _check_secrets(stack, attacker)


async def _ask_about_a_foreign_call(scene: Scene) -> None:
    """A request that a transceiver passes on to whoever has that node: nobody, and not the trap."""
    url = f"{scene.stack.console_url}/v1/realtime/calls/{new_call_id(0, NODE)}/hangup"
    headers = {"Authorization": f"Bearer {scene.stack.api_key}"}
    async with scene.http.post(url, headers=headers) as answer:
        assert answer.status == 404


async def _restart_poisoned(scene: Scene) -> None:
    """A relay that starts in the middle of it finds the call again."""
    for way in (_types, _own_nodes):
        for key in await scene.attacker.keys():
            await way(scene.attacker, key)
        await scene.stack.stop_part("relay")
        await scene.stack.start_part("relay")
        await scene.caller.message(f"after a restart, {way.__name__}")


def _check_secrets(stack: Stack, attacker: Attacker) -> None:
    """Neither keys, nor what keys are known by, nor an address of the caller or of a process."""
    seen = b"\n".join(attacker.seen)
    assert len(attacker.seen) > 20
    secrets = [stack.api_key.encode()]
    for name in ("TRUNKLINE_TOKEN_KEYS", "TRUNKLINE_TRUNK_KEYS"):
        for key in KeyRing.parse(stack.variables[name]).keys.values():
            secrets += [key, key.hex().encode(), key[:8]]
    secrets += [b"127.0.0.1"]
    mapped = V4_MAPPED_PREFIX + socket.inet_aton("127.0.0.1")
    secrets += [mapped, mapped.hex().encode(), socket.inet_aton("127.0.0.1")]
    assert [secret for secret in secrets if secret in seen] == []
    # A host may be called "vm", which chance puts into sealed bytes; names of processes go on.
    assert re.search(re.escape(socket.gethostname().encode()) + rb":\d{3}", seen) is None
