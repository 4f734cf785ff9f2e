"""A whole relay with two workers: claims, a lost transceiver that comes back, an upgrade."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest
import redis.asyncio

from fleet.directory.redis_store import RedisStore
from fleet.suspicion import Cause, Suspicion, SuspicionChannel
from tests.conftest import free_port
from tests.relay.kit import check, media
from tests.relay.test_relay_process import (
    TAGGER,
    Node,
    RunningRelay,
    bound,
    environment,
    launch,
    until_serving,
)
from tests.rings import token_ring
from trunkline.process.address import Address
from wire import claim, trunk
from wire.address import pack_address
from wire.claim import ALIVE, NOBODY, Claim, sender
from wire.trunk import FrameType

Worker = tuple[str, int]


@dataclass
class Owner(Node):
    """A transceiver that can claim calls."""

    @property
    def number(self) -> int:
        return sender(self.lease.index, self.lease.epoch)

    def say(self, worker: Worker, kind: FrameType, *frames: tuple[bytes, bytes]) -> None:
        self.count += 1
        data = trunk.pack(TAGGER, self.number, int(time.time()), self.count, frames, kind)
        self.sock.sendto(data, worker)

    async def claims(self, worker: Worker, said: Claim) -> None:
        """Claim, and wait for the answer."""
        self.say(worker, FrameType.CLAIM, said.frame())
        answer, source = await self.receive()
        assert (source, answer.first) == (worker, FrameType.CLAIMED)
        assert [claim.read(*frame) for frame in answer.frames] == [said]


class Fleet:
    """A relay, two owners in its directory, and callers."""

    def __init__(self, relay: RunningRelay, owners: list[Owner], redis_url: str) -> None:
        self.relay, self.redis_url = relay, redis_url
        self.old, self.new = owners
        self._callers = ExitStack()
        self.workers: set[Worker] = set()  # trunk addresses seen so far

    def caller(self) -> socket.socket:
        return self._callers.enter_context(bound("127.0.0.1"))

    async def say(self, caller: socket.socket, packet: bytes) -> None:
        target = ("127.0.0.1", self.relay.port)
        await asyncio.get_running_loop().sock_sendto(caller, packet, target)

    async def reaches(self, caller: socket.socket, packet: bytes, owner: Owner) -> Worker:
        """The worker through which a packet reaches an owner."""
        await self.say(caller, packet)
        read, worker = await owner.receive()
        assert read.frames == ((address_of(caller), packet),)
        self.workers.add(worker)
        return worker

    async def call(self) -> tuple[socket.socket, str, Worker]:
        """A caller with a call on the old owner, its ufrag, and its worker."""
        caller, ufrag = self.caller(), self.old.ufrag()
        worker = await self.reaches(caller, check(ufrag), self.old)
        return caller, ufrag, worker

    async def calls_on_both_workers(self) -> list[tuple[socket.socket, str, Worker]]:
        """One call each."""
        found: dict[Worker, tuple[socket.socket, str, Worker]] = {}
        while len(found) < 2:
            call = await self.call()
            found.setdefault(call[2], call)
        return list(found.values())

    def close(self) -> None:
        self._callers.close()


def address_of(caller: socket.socket) -> bytes:
    return pack_address(*caller.getsockname()[:2])


@pytest.fixture
async def fleet(redis_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    admin = free_port()
    env = environment(redis_url, free_port(socket.SOCK_DGRAM), admin, free_port())
    env["TRUNKLINE_RELAY_HANDOVER"] = str(tmp_path / "handover")
    process = await launch(env)
    store = RedisStore(redis_url, 0, token_ring)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{admin}") as channel:
        await until_serving(channel)
        relay = RunningRelay(process, int(env["TRUNKLINE_RELAY_PORT"]), channel)
        with bound("127.0.0.1") as one, bound("127.0.0.1") as other:
            owners = []
            for sock in (one, other):
                lease = await store.claim("node", Address(*sock.getsockname()[:2]))
                owners.append(Owner(sock, lease))
            await relay.until(lambda stats: stats.nodes == 2)
            fleet = Fleet(relay, owners, redis_url)
            yield fleet
            fleet.close()
    await store.close()
    if process.returncode is None:
        process.terminate()
    await process.communicate()


async def test_calls_go_to_their_new_owner(fleet: Fleet) -> None:
    """Claims of calls in both workers, said to one of them; media and checks follow."""
    calls = await fleet.calls_on_both_workers()
    told = calls[0][2]
    for caller, ufrag, _ in calls:
        await fleet.new.claims(told, Claim(ufrag, fleet.new.number, NOBODY, address_of(caller)))
    for caller, ufrag, worker in calls:
        for packet in (media(90), check(ufrag), media(91)):
            assert await fleet.reaches(caller, packet, fleet.new) == worker
    stats = await fleet.relay.stats()
    assert stats.total["claims"] == stats.total["claims_answered"] == 2
    assert sum(worker.claims for worker in stats.workers) >= 2
    assert list(stats.fenced_nodes) == []


async def test_a_lost_owner_that_comes_back_reaches_nobody(fleet: Fleet) -> None:
    """Through neither worker, after one of them was told."""
    loop = asyncio.get_running_loop()
    calls = await fleet.calls_on_both_workers()
    for caller, ufrag, worker in calls:
        said = Claim(ufrag, fleet.new.number, fleet.old.number, address_of(caller))
        await fleet.new.claims(calls[0][2], said)
        fleet.old.send(worker, (address_of(caller), b"stale"))
        fleet.new.send(worker, (address_of(caller), b"fresh"))
        assert await loop.sock_recv(caller, 100) == b"fresh"
    await fleet.relay.until(lambda stats: stats.total["drop_trunk_fenced"] == 2)
    assert list((await fleet.relay.stats()).fenced_nodes) == [fleet.old.lease.index]


async def test_claims_outlive_a_killed_worker(fleet: Fleet) -> None:
    """Its successor has them, and the fence."""
    caller, ufrag, worker = await fleet.call()
    said = Claim(ufrag, fleet.new.number, fleet.old.number, address_of(caller))
    await fleet.new.claims(worker, said)
    for victim in (await fleet.relay.stats()).workers:
        os.kill(victim.pid, signal.SIGKILL)
    for packet in (check(ufrag), media(90)):
        assert await fleet.reaches(caller, packet, fleet.new) == worker
    fleet.old.send(worker, (address_of(caller), b"stale"))
    await fleet.relay.until(lambda stats: stats.total["drop_trunk_fenced"] == 1)


async def test_an_upgraded_relay_goes_on_with_claims_and_fences(
    fleet: Fleet, tmp_path: Path
) -> None:
    """The successor's directory may have the fenced owner still: the fence holds."""
    caller, ufrag, worker = await fleet.call()
    said = Claim(ufrag, fleet.new.number, fleet.old.number, address_of(caller))
    await fleet.new.claims(worker, said)
    admin = free_port()
    env = environment(fleet.redis_url, fleet.relay.port, admin, free_port())
    env["TRUNKLINE_RELAY_HANDOVER"] = str(tmp_path / "handover")
    successor = await launch(env)
    await fleet.relay.process.wait()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{admin}") as channel:
        await until_serving(channel)
        relay = RunningRelay(successor, fleet.relay.port, channel)
        for packet in (media(90), check(ufrag), media(91)):
            assert await fleet.reaches(caller, packet, fleet.new) == worker
        fleet.old.send(worker, (address_of(caller), b"stale"))
        await relay.until(lambda stats: stats.total["drop_trunk_fenced"] == 1)
        assert list((await relay.stats()).fenced_nodes) == [fleet.old.lease.index]
    successor.terminate()
    await successor.communicate()


async def test_a_transceiver_that_falls_silent_is_suspected(fleet: Fleet) -> None:
    """One goes on with signs of life, the other stops; who listens hears of that one alone."""
    _, _, worker = await fleet.call()
    channel = SuspicionChannel(fleet.redis_url, 0, token_ring)
    raw = redis.asyncio.Redis.from_url(fleet.redis_url)
    async with aclosing(channel.listen()) as words:
        heard = asyncio.ensure_future(anext(words))
        while not (await raw.pubsub_numsub("trunkline:{0}:suspicion"))[0][1]:
            await asyncio.sleep(0)
        fleet.old.say(worker, FrameType.ALIVE, ALIVE)
        while not heard.done():
            fleet.new.say(worker, FrameType.ALIVE, ALIVE)
            await asyncio.wait([heard], timeout=0.1)
        lost = fleet.old.lease
        assert await heard == Suspicion(lost.index, lost.epoch, Cause.SILENT)
    await raw.aclose()
    await channel.close()
    stats = await fleet.relay.stats()
    assert stats.total["suspicions"] >= 1
    assert stats.total["signs_of_life"] >= 3
