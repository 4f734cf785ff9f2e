"""Recovery with real processes: relays killed, replaced and upgraded while media runs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from fleet.directory.redis_store import RedisStore
from tests.conftest import RedisServer, free_port
from tests.relay.kit import check, media
from tests.relay.test_relay_process import (
    Node,
    RunningRelay,
    bound,
    environment,
    launch,
    until_serving,
)
from tests.rings import token_ring
from trunkline.process.address import Address
from wire.address import pack_address


class Place:
    """Where relays of a test run, one after another: same ports, same Redis."""

    def __init__(self, redis_url: str, **variables: str) -> None:
        self.port, self._admin = free_port(socket.SOCK_DGRAM), free_port()
        self._environment = environment(redis_url, self.port, self._admin, free_port()) | variables
        self.target = ("127.0.0.1", self.port)

    @asynccontextmanager
    async def relay(self) -> AsyncIterator[RunningRelay]:
        """A relay that serves; killed at the end unless it is gone by then."""
        process = await launch(self._environment)
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{self._admin}", [("grpc.initial_reconnect_backoff_ms", 100)]
        ) as channel:
            try:
                await self._until_own(channel, process)
                yield RunningRelay(process, self.port, channel)
            finally:
                if process.returncode is None:
                    process.terminate()
                await process.communicate()

    async def _until_own(
        self, channel: grpc.aio.Channel, process: asyncio.subprocess.Process
    ) -> None:
        serving = asyncio.create_task(until_serving(channel))
        gone = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({serving, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                _, stderr = await process.communicate()
                raise RuntimeError(stderr.decode())
        finally:
            serving.cancel()
            gone.cancel()
            await asyncio.wait({serving, gone})


@dataclass(kw_only=True)
class Leased(Node):
    """A node and the store that its lease is from."""

    store: RedisStore


@asynccontextmanager
async def joined(redis_url: str) -> AsyncIterator[Leased]:
    """A node in the directory, with a lease that outlasts the test."""
    store = RedisStore(redis_url, 0, token_ring, lease_s=600)
    try:
        with bound("127.0.0.1") as sock:
            lease = await store.claim("test-node", Address(*sock.getsockname()[:2]))
            yield Leased(sock, lease, store=store)
    finally:
        await store.close()


async def succeeded(old: RunningRelay, new: RunningRelay) -> None:
    """The old relay ended as it should, and the new one answers where it did."""
    assert await old.process.wait() == 0
    await until_serving(new.channel)


async def kill(relay: RunningRelay) -> None:
    """SIGKILL, and wait until its workers have let go of the port."""
    relay.process.kill()
    await relay.process.wait()
    while not _is_free(relay.port):
        await asyncio.sleep(0.01)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::", port))
        except OSError:
            return False
        return True


async def media_arrives(sock: socket.socket, node: Node, target: tuple[str, int]) -> None:
    """One packet of the client, with no STUN, is at the node."""
    loop = asyncio.get_running_loop()
    packet = media(99)
    await loop.sock_sendto(sock, packet, target)
    datagram, _ = await node.receive()
    assert datagram.frames == ((pack_address(*sock.getsockname()[:2]), packet),)


async def checked_in(sock: socket.socket, node: Node, target: tuple[str, int]) -> None:
    """The client's flow stands."""
    await asyncio.get_running_loop().sock_sendto(sock, check(node.ufrag()), target)
    await node.receive()


async def test_a_replaced_relay_finds_its_flows_in_redis(redis_url: str) -> None:
    """Everything killed, a new relay on the port: the first packet without STUN gets through."""
    place = Place(redis_url)
    with bound("127.0.0.1") as sock:
        async with joined(redis_url) as node:
            async with place.relay() as relay:
                await checked_in(sock, node, place.target)
                await relay.until(lambda stats: stats.total["flow_store_writes"] == 1)
                await kill(relay)
            async with place.relay() as relay:
                await media_arrives(sock, node, place.target)
                total = (await relay.stats()).total
                assert total["recovered_redis"] == total["parked_released"] == 1
                assert total["flow_store_found"] == 1
                await media_arrives(sock, node, place.target)
                assert (await relay.stats()).total["parked"] == 1


async def test_without_the_cache_flows_come_back_with_stun(redis_url: str) -> None:
    """TRUNKLINE_RELAY_FLOW_CACHE=false: a stranger's packet is dropped, a check brings it back."""
    place = Place(redis_url, TRUNKLINE_RELAY_FLOW_CACHE="false")
    with bound("127.0.0.1") as sock:
        async with joined(redis_url) as node, place.relay() as relay:
            await asyncio.get_running_loop().sock_sendto(sock, media(), place.target)
            await relay.until(lambda stats: stats.total["drop_unknown_address"] == 1)
            await checked_in(sock, node, place.target)
            await media_arrives(sock, node, place.target)
            assert (await relay.stats()).total["flow_store_writes"] == 0


async def test_a_stranger_is_asked_about_once_and_written_never(redis_url: str) -> None:
    """Garbage of one address: one question to Redis, then it is remembered; nothing is stored."""
    place = Place(redis_url)
    loop = asyncio.get_running_loop()
    with bound("127.0.0.1") as sock:
        async with joined(redis_url), place.relay() as relay:
            await loop.sock_sendto(sock, media(), place.target)
            await relay.until(lambda stats: stats.total["flow_store_unknown"] == 1)
            await relay.until(lambda stats: stats.total["drop_unknown_address"] == 1)
            await loop.sock_sendto(sock, media(), place.target)
            await relay.until(lambda stats: stats.total["drop_unknown_address"] == 2)
            total = (await relay.stats()).total
            assert (total["flow_store_questions"], total["flow_store_writes"]) == (1, 0)


class StallingProxy:
    """Stands before Redis; while `stalled`, takes bytes and passes none on."""

    def __init__(self, redis_port: int) -> None:
        self._redis_port = redis_port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def stall(self) -> None:
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    async def stop(self) -> None:
        self._server.close()
        self._flowing.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        theirs_in, theirs_out = await asyncio.open_connection("127.0.0.1", self._redis_port)
        back = asyncio.create_task(self._pipe(theirs_in, writer))
        try:
            await self._pipe(reader, theirs_out)
        finally:
            back.cancel()
            await asyncio.wait({back})
            writer.close()
            theirs_out.close()
            self._tasks.discard(task)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass


async def test_a_slow_redis_touches_no_call(make_redis: Callable[..., RedisServer]) -> None:
    """Redis takes commands and answers none: media and new calls go on, later all is written."""
    redis = make_redis()
    proxy = StallingProxy(redis.port)
    place = Place(await proxy.start())
    try:
        async with joined(redis.url) as node, place.relay() as relay:
            with bound("127.0.0.1") as old, bound("127.0.0.1") as new, bound("127.0.0.1") as odd:
                await checked_in(old, node, place.target)
                await relay.until(lambda stats: stats.total["flow_store_writes"] == 1)
                proxy.stall()
                await media_arrives(old, node, place.target)
                await checked_in(new, node, place.target)
                await media_arrives(new, node, place.target)
                await asyncio.get_running_loop().sock_sendto(odd, media(), place.target)
                await relay.until(lambda stats: stats.total["flow_store_unanswered"] == 1)
                await relay.until(lambda stats: stats.total["drop_parked_expired"] == 1)
                await relay.until(lambda stats: stats.total["flow_store_write_failures"] > 0)
                await media_arrives(old, node, place.target)
                proxy.flow()
                # Both are written: the store may have lost the first one meanwhile.
                await relay.until(lambda stats: stats.total["flow_store_writes"] >= 3)
    finally:
        await proxy.stop()


class Stream:
    """Numbered media of several clients, paced at about 2,000 packets a second."""

    INTERVAL_S = 0.01
    CLIENTS = 20

    def __init__(self, node: Node, target: tuple[str, int], clients: list[socket.socket]) -> None:
        self._node = node
        self._target = target
        self._clients = clients
        self.sent = [0] * len(clients)
        self.seen: list[list[int]] = [[] for _ in clients]
        self._index = {
            pack_address(*sock.getsockname()[:2]): number for number, sock in enumerate(clients)
        }

    async def send(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not stop.is_set():
            for number, sock in enumerate(self._clients):
                sock.sendto(media(60) + self.sent[number].to_bytes(4), self._target)
                self.sent[number] += 1
            due += self.INTERVAL_S
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def receive(self) -> None:
        while True:
            datagram, _ = await self._node.receive()
            for address, packet in datagram.frames:
                self.seen[self._index[address]].append(int.from_bytes(packet[-4:]))

    async def until_quiet(self) -> None:
        """Return when all arrived, or nothing has for a second."""
        before = -1
        while self.lost and (now := sum(map(len, self.seen))) != before:
            before = now
            await asyncio.sleep(1)

    @property
    def lost(self) -> int:
        """How many packets have not arrived."""
        return sum(self.sent) - sum(map(len, self.seen))


@pytest.mark.slow
async def test_three_upgrades_lose_no_packet(redis_url: str, tmp_path: Path) -> None:
    """Each successor takes the sockets over under 2,000 packets/s; every packet arrives once."""
    path = tmp_path / "relay.sock"
    place = Place(redis_url, TRUNKLINE_RELAY_HANDOVER=str(path))
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(joined(redis_url))
        node.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        clients = [stack.enter_context(bound("127.0.0.1")) for _ in range(Stream.CLIENTS)]
        relay = await stack.enter_async_context(place.relay())
        for sock in clients:
            await checked_in(sock, node, place.target)
        stream, stop = Stream(node, place.target, clients), asyncio.Event()
        receiving = asyncio.create_task(stream.receive())
        sending = asyncio.create_task(stream.send(stop))
        try:
            for _ in range(3):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                old = relay
                relay = await stack.enter_async_context(place.relay())
                await succeeded(old, relay)
            stop.set()
            await sending
            await stream.until_quiet()
            assert stream.lost == 0
            assert all(len(set(seen)) == len(seen) for seen in stream.seen)
            total = (await relay.stats()).total
            assert total["recovered_sibling"] == Stream.CLIENTS
            assert total["parked"] == 0
        finally:
            stop.set()
            receiving.cancel()
            await asyncio.wait({receiving, sending})


async def test_a_node_without_a_lease_outlives_an_upgrade(redis_url: str, tmp_path: Path) -> None:
    """The store has forgotten the node, the running relay has not: its successor learns of it."""
    place = Place(redis_url, TRUNKLINE_RELAY_HANDOVER=str(tmp_path / "relay.sock"))
    with bound("127.0.0.1") as sock:
        async with joined(redis_url) as node, place.relay() as relay:
            await checked_in(sock, node, place.target)
            await node.store.release(node.lease)
            async with place.relay() as successor:
                await succeeded(relay, successor)
                await media_arrives(sock, node, place.target)
                assert (await successor.stats()).nodes == 0


async def test_a_successor_that_dies_leaves_the_old_relay_at_work(
    redis_url: str, tmp_path: Path
) -> None:
    """Killed before it serves: the holder goes on, and the next successor is served."""
    path = tmp_path / "relay.sock"
    place = Place(redis_url, TRUNKLINE_RELAY_HANDOVER=str(path))
    with bound("127.0.0.1") as sock:
        async with joined(redis_url) as node, place.relay() as relay:
            await checked_in(sock, node, place.target)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as rude:
                rude.connect(str(path))
                rude.send(b'{"take": "another layout", "cluster": 0}')
            await media_arrives(sock, node, place.target)
            assert relay.process.returncode is None
            async with place.relay() as successor:
                await succeeded(relay, successor)
                await media_arrives(sock, node, place.target)
                assert (await successor.stats()).total["recovered_sibling"] == 1
    assert not path.exists()


async def test_a_stopped_relay_leaves_no_path(redis_url: str, tmp_path: Path) -> None:
    """SIGTERM removes the hand-over socket; a leftover of a killed one does not hinder."""
    path = tmp_path / "relay.sock"
    place = Place(redis_url, TRUNKLINE_RELAY_HANDOVER=str(path))
    async with place.relay() as relay:
        await kill(relay)
    assert path.exists()
    async with place.relay() as relay:
        os.kill(relay.process.pid, signal.SIGTERM)
        assert await relay.process.wait() == 0
    assert not path.exists()
