"""A whole relay where something has run out or does not answer: its live calls go on."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import grpc.aio
import psutil
import pytest

from tests.conftest import free_port
from tests.relay.kit import check, media
from tests.relay.test_relay_process import (
    TAGGER,
    Node,
    RunningRelay,
    bound,
    environment,
    node,
    relay,
    until_serving,
)
from trunkline.v1 import admin_pb2
from wire import trunk

__all__ = ["node", "relay"]  # fixtures

FRAME_S = 0.02
ROOM = 3  # descriptors left to a relay at its limit: fewer than anything needs


class Call:
    """A caller who speaks fifty times a second, and counts what comes back from the node."""

    def __init__(self, relay: RunningRelay, node: Node, sock: socket.socket) -> None:
        self._target, self._node, self._sock = ("127.0.0.1", relay.port), node, sock
        self.sent = self.received = 0

    async def begin(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(self._sock, check(self._node.ufrag()), self._target)
        await self._node.receive()

    async def speak(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self.sent += 1
            await loop.sock_sendto(self._sock, media(60 + self.sent % 100), self._target)
            await asyncio.sleep(FRAME_S)

    async def hear(self) -> None:
        """Until cancelled: what the node has of it."""
        while True:
            datagram, _ = await self._node.receive()
            self.received += len(datagram.frames)

    async def goes_on(self, frames: int = 25) -> None:
        """Return when so many more frames have come through; the test's time limit says never."""
        until = self.received + frames
        while self.received < until:
            await asyncio.sleep(FRAME_S)


@asynccontextmanager
async def live_call(relay: RunningRelay, node: Node) -> AsyncIterator[Call]:
    with bound("127.0.0.1") as sock:
        call = Call(relay, node, sock)
        await call.begin()
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(call.speak()), tasks.create_task(call.hear())]
            await call.goes_on()
            yield call
            for loop in loops:
                loop.cancel()


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@contextmanager
def at_the_descriptor_limit(pid: int) -> Iterator[None]:
    """The process can open no file, accept no connection, start no process."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # The limit is on the number of the next descriptor: the lowest free one must be above it.
    numbers = sorted(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
    lowest_free = next(n for n in range(len(numbers) + 1) if n not in numbers)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def workers_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children()


async def test_at_the_descriptor_limit_calls_go_on(relay: RunningRelay, node: Node) -> None:
    """Looks at workers need none, so nobody dies; the supervisor neither ends nor spins."""
    before = await relay.stats()
    async with live_call(relay, node) as call:
        with at_the_descriptor_limit(relay.process.pid):
            with pytest.raises(OSError):
                await asyncio.to_thread(ask_for_metrics, relay)
            await call.goes_on(100)  # some seven looks
            assert relay.process.returncode is None
        await call.goes_on()
    after = await relay.stats()
    assert [w.pid for w in after.workers] == [w.pid for w in before.workers]
    assert [w.restarts for w in after.workers] == [0, 0]


def ask_for_metrics(relay: RunningRelay) -> bytes:
    host, port = metrics_of(relay)
    with urlopen(f"http://{host}:{port}/metrics", timeout=2.0) as answer:
        page: bytes = answer.read()
    return page


def metrics_of(relay: RunningRelay) -> tuple[str, int]:
    environment = psutil.Process(relay.process.pid).environ()
    host, _, port = environment["TRUNKLINE_RELAY_METRICS"].rpartition(":")
    return host, int(port)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_is_replaced_at_the_descriptor_limit(
    relay: RunningRelay, node: Node, number: signal.Signals
) -> None:
    """The spare takes the place of one, and what is kept in reserve is enough for the next."""
    async with live_call(relay, node) as call:
        with at_the_descriptor_limit(relay.process.pid):
            for restarts in (1, 2):
                os.kill(busy(await relay.stats()).pid, number)
                while (worker := busy(await relay.stats())).restarts != restarts or not worker.pid:
                    await asyncio.sleep(0.02)
                await call.goes_on()
        await call.goes_on()


def busy(stats: admin_pb2.StatsResponse) -> admin_pb2.WorkerStats:
    """The worker that has the call."""
    return next(worker for worker in stats.workers if worker.flows)


async def test_a_spare_that_is_dead_or_stopped_is_replaced(relay: RunningRelay, node: Node) -> None:
    """So the worker that dies next has a successor at once."""
    async with live_call(relay, node) as call:
        for number in (signal.SIGKILL, signal.SIGSTOP):
            spare = await spare_of(relay)
            os.kill(spare, number)
            while await spare_of(relay) in {0, spare}:
                await asyncio.sleep(0.05)
        await call.goes_on()


async def spare_of(relay: RunningRelay) -> int:
    """The child that is no worker; 0 while there is none."""
    working = {worker.pid for worker in (await relay.stats()).workers}
    with suppress(psutil.NoSuchProcess):
        for child in workers_of(relay.process.pid):
            if child.pid not in working and child.status() != psutil.STATUS_ZOMBIE:
                return int(child.pid)
    return 0


async def test_every_worker_killed_again_and_again(relay: RunningRelay, node: Node) -> None:
    """However often, the call is there again; nothing of the dead is left."""
    async with live_call(relay, node) as call:
        count = descriptors(relay.process.pid)
        for _ in range(3):
            for worker in (await relay.stats()).workers:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
            await call.goes_on()
        await relay.until(lambda s: all(w.pid for w in s.workers))
        while not await spare_of(relay):
            await asyncio.sleep(0.05)
        assert descriptors(relay.process.pid) <= count + ROOM


async def test_slow_scrapers_leave_room_for_others(relay: RunningRelay, node: Node) -> None:
    """A hundred connections that say nothing hold a few places for a few seconds, and no more."""
    host, port = metrics_of(relay)
    async with live_call(relay, node) as call:
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection((host, port)))
            await call.goes_on(50)
            assert psutil.Process(relay.process.pid).num_threads() < 60
            assert descriptors(relay.process.pid) < 100
        page = await asyncio.to_thread(ask_for_metrics, relay)
    assert b"trunkline_relay_up_packets_total" in page


async def test_what_cannot_be_read_from_the_trunk_is_counted(
    relay: RunningRelay, node: Node
) -> None:
    """Datagrams with a good tag and odd values, at a whole relay: the call beside them goes on."""
    async with live_call(relay, node) as call:
        stats = await relay.stats()
        for count in range(40):
            frames = [(bytes(18), bytes(count))] * (count * 6)
            sender = node.lease.index << 16 | node.lease.epoch
            data = trunk.pack(TAGGER, sender, int(time.time()), count, frames)
            for target in await trunk_ports(relay):
                node.sock.sendto(data[:9000], ("127.0.0.1", target))
        await relay.until(lambda s: s.total["drop_trunk_frames"] > 50)
        await call.goes_on()
        assert [w.pid for w in (await relay.stats()).workers] == [w.pid for w in stats.workers]


async def trunk_ports(relay: RunningRelay) -> set[int]:
    connections = psutil.Process(relay.process.pid).net_connections("udp")
    return {c.laddr.port for c in connections if c.laddr.port != relay.port}


def fill_stderr(pid: int) -> None:
    """Until not one more byte fits: nobody reads it."""
    fd = os.open(f"/proc/{pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    try:
        with suppress(BlockingIOError):
            while True:
                os.write(fd, b"x" * 512 + b"\n")
    finally:
        os.close(fd)


async def test_a_stuck_reader_of_the_log_stops_nothing(relay: RunningRelay, node: Node) -> None:
    """Workers are replaced, operators are answered, and the call goes on."""
    async with live_call(relay, node) as call:
        fill_stderr(relay.process.pid)
        for restarts in (1, 2):
            os.kill(busy(await relay.stats()).pid, signal.SIGKILL)
            while (worker := busy(await relay.stats())).restarts != restarts or not worker.pid:
                await asyncio.sleep(0.02)
            await call.goes_on()


async def test_a_full_disk_stops_nothing(redis_url: str) -> None:
    """With a log that cannot be written it starts, replaces its workers, and ends in order."""
    port, admin = free_port(socket.SOCK_DGRAM), free_port()
    full = os.open("/dev/full", os.O_WRONLY)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relay"),
        env=environment(redis_url, port, admin, free_port()),
        stderr=full,
    )
    os.close(full)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{admin}") as channel:
        await until_serving(channel)
        running = RunningRelay(process, port, channel)
        os.kill((await running.stats()).workers[0].pid, signal.SIGKILL)
        await running.until(lambda s: bool(s.workers[0].restarts and s.workers[0].pid))
    process.terminate()
    assert await process.wait() == 0
