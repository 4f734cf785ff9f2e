"""Who may be dead is said through a real Redis, and believed only from the fleet."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from fleet import suspicion as module
from fleet.errors import StoreUnavailable
from fleet.seal import MAX_AGE_MS, Seal
from fleet.suspicion import PURPOSE, Cause, Suspicion, SuspicionChannel
from tests.conftest import RedisServer
from tests.rings import token_ring

SILENT, DIED = Suspicion(7, 65535, Cause.SILENT), Suspicion(65535, 0, Cause.DIED)
CHANNEL = "trunkline:{3}:suspicion"


@asynccontextmanager
async def listening(channel: SuspicionChannel, url: str) -> AsyncIterator[asyncio.Queue[Suspicion]]:
    """A listener that Redis knows of, and what it hears."""
    heard: asyncio.Queue[Suspicion] = asyncio.Queue()

    async def listen() -> None:
        async with aclosing(channel.listen()) as words:
            async for word in words:
                heard.put_nowait(word)

    raw = redis.asyncio.Redis.from_url(url)
    task = asyncio.create_task(listen())
    try:
        while not task.done() and dict(await raw.pubsub_numsub(CHANNEL)) != {CHANNEL.encode(): 1}:
            await asyncio.sleep(0)
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await raw.aclose()


async def test_everybody_hears_what_is_said(redis_url: str) -> None:
    """Node, epoch and cause arrive, in order."""
    relay, transceiver = (SuspicionChannel(redis_url, 3, token_ring) for _ in range(2))
    async with listening(transceiver, redis_url) as heard:
        for said in (SILENT, DIED):
            await relay.publish(said)
        assert [await heard.get(), await heard.get()] == [SILENT, DIED]
    await relay.close()
    await transceiver.close()


async def test_what_the_fleet_did_not_say_is_passed_over(redis_url: str) -> None:
    """Noise, another cluster's words, old and impossible ones: counted, and the next is heard."""
    now_ms = int(time.time() * 1000)
    seal = Seal(token_ring, PURPOSE, 3)

    def sealed(at_ms: int = now_ms, **fields: object) -> str:
        word = {"node": 1, "epoch": 2, "cause": "silent", "at_ms": at_ms, **fields}
        text = str(word).replace("'", '"').replace("None", "null")
        return seal.seal(PURPOSE.encode(), text.encode())

    other = Seal(token_ring, PURPOSE, 4).seal(PURPOSE.encode(), b"{}")
    wrong = ["", "x" * 100_000, other, sealed(now_ms - module.MAX_AGE_MS - 1000)]
    wrong += [sealed(now_ms + MAX_AGE_MS + 1000), sealed(node=65536), sealed(epoch=-1)]
    wrong += [sealed(node="1"), sealed(cause="bored"), sealed(cause=None)]
    wrong += [seal.seal(b"another place", b"{}"), seal.seal(PURPOSE.encode(), b"[]")]
    channel, raw = (
        SuspicionChannel(redis_url, 3, token_ring),
        redis.asyncio.Redis.from_url(redis_url),
    )
    async with listening(channel, redis_url) as heard:
        for text in wrong:
            await raw.publish(CHANNEL, text)
        await raw.publish(CHANNEL, sealed(note="of a later version"))
        assert await heard.get() == Suspicion(1, 2, Cause.SILENT)
    assert channel.unreadable == len(wrong)
    await raw.aclose()
    await channel.close()


async def test_who_reads_redis_learns_no_name(redis_url: str) -> None:
    """Not even which node it is about."""
    channel, raw = (
        SuspicionChannel(redis_url, 3, token_ring),
        redis.asyncio.Redis.from_url(redis_url),
    )
    pubsub = raw.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(CHANNEL)
    await channel.publish(DIED)
    while not (message := await pubsub.get_message(timeout=1)):
        pass
    assert b"65535" not in message["data"]
    assert b"died" not in message["data"]
    await pubsub.aclose()
    await raw.aclose()
    await channel.close()


async def test_an_outage_ends_listening(make_redis: Callable[..., RedisServer]) -> None:
    """Whoever listens is told that Redis went away, and begins again when it likes."""
    server = make_redis()
    channel = SuspicionChannel(server.url, 3, token_ring)
    words = channel.listen()
    first = asyncio.ensure_future(anext(words))
    raw = redis.asyncio.Redis.from_url(server.url)
    while dict(await raw.pubsub_numsub(CHANNEL)) != {CHANNEL.encode(): 1}:
        await asyncio.sleep(0)
    await raw.aclose()
    server.stop()
    with pytest.raises(StoreUnavailable):
        await first
    with pytest.raises(StoreUnavailable):
        await channel.publish(DIED)
    await channel.close()


async def test_a_redis_that_says_nothing_at_all_is_away(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that vanished sends no end of the connection: it is asked for a sign of life."""
    monkeypatch.setattr(module, "QUIET_S", 0.01)
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.2)
    passes = asyncio.Event()
    passes.set()
    server = await asyncio.start_server(_through(redis_url, passes), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    channel = SuspicionChannel(f"redis://127.0.0.1:{port}/0", 3, token_ring)
    async with listening(channel, redis_url) as heard:
        direct = SuspicionChannel(redis_url, 3, token_ring)
        await direct.publish(SILENT)
        assert await heard.get() == SILENT  # through questions and answers
        await direct.close()
    words = channel.listen()
    waiting = asyncio.ensure_future(anext(words))
    passes.clear()
    with pytest.raises(StoreUnavailable, match="did not answer"):
        await waiting
    await channel.close()
    server.close()


def _through(url: str, passes: asyncio.Event) -> Any:
    """A wire to Redis that can be cut without a word."""
    port = int(url.rpartition(":")[2].partition("/")[0])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(reader, up_writer, passes))
            both.create_task(_pump(up_reader, writer, passes))

    return serve


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event
) -> None:
    try:
        while data := await reader.read(65536):
            await passes.wait()
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_unreachable_is_one_clear_line() -> None:
    """Nobody listens at the port: the error names the place."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        channel = SuspicionChannel(f"redis://127.0.0.1:{port}/0", 0, token_ring)
        with pytest.raises(StoreUnavailable, match=f"Redis at 127.0.0.1:{port} cannot be reached"):
            await channel.publish(SILENT)
    await channel.close()
