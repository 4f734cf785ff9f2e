"""A whole relay, as `python -m relay`: sockets, workers, Redis, admin."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass

import grpc.aio
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from datagram.fresh import WORTH_S
from fleet.directory.redis_store import RedisStore
from fleet.directory.store import Lease
from tests.conftest import RedisServer, free_port
from tests.relay.kit import check, media
from tests.rings import token_ring
from trunkline.process.address import Address
from trunkline.v1 import admin_pb2, admin_pb2_grpc
from wire import token, trunk
from wire.address import pack_address
from wire.keys import KeyRing

KEYS = {"TRUNKLINE_TOKEN_KEYS": "1:" + "74" * 32, "TRUNKLINE_TRUNK_KEYS": "2:" + "6b" * 32}
TAGGER = trunk.Tagger(KeyRing(2, {2: b"k" * 32}))


@dataclass
class RunningRelay:
    process: asyncio.subprocess.Process
    port: int
    channel: grpc.aio.Channel

    @property
    def admin(self) -> admin_pb2_grpc.RelayAdminStub:
        return admin_pb2_grpc.RelayAdminStub(self.channel)

    async def stats(self) -> admin_pb2.StatsResponse:
        return await self.admin.Stats(admin_pb2.StatsRequest())

    async def until(self, holds: Callable[[admin_pb2.StatsResponse], bool]) -> None:
        """Return when the counters say so; the test's own time limit ends a wait in vain."""
        while not holds(await self.stats()):
            await asyncio.sleep(0.02)


def environment(redis_url: str, port: int, admin: int, metrics: int) -> dict[str, str]:
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("TRUNKLINE_")},
        **KEYS,
        "TRUNKLINE_REDIS_URL": redis_url,
        "TRUNKLINE_RELAY_PORT": str(port),
        "TRUNKLINE_RELAY_ADMIN": f"127.0.0.1:{admin}",
        "TRUNKLINE_RELAY_METRICS": f"127.0.0.1:{metrics}",
    }


async def launch(env: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay", env=env, stderr=asyncio.subprocess.PIPE
    )


async def until_serving(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    async for answer in stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True):
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return


@pytest.fixture
async def relay(redis_url: str) -> AsyncIterator[RunningRelay]:
    port, admin = free_port(socket.SOCK_DGRAM), free_port()
    process = await launch(environment(redis_url, port, admin, free_port()))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{admin}") as channel:
        await until_serving(channel)
        yield RunningRelay(process, port, channel)
    if process.returncode is None:
        process.terminate()
    await process.communicate()
    assert process.returncode == 0


@dataclass
class Node:
    """A transceiver's trunk socket, in the directory."""

    sock: socket.socket
    lease: Lease
    count: int = 0

    def ufrag(self) -> str:
        route = token.Route(0, self.lease.index, self.lease.epoch)
        return token.mint(KeyRing(1, {1: b"t" * 32}), route, os.urandom(4))

    async def receive(self) -> tuple[trunk.Datagram, tuple[str, int]]:
        data, sender = await asyncio.get_running_loop().sock_recvfrom(self.sock, 2000)
        return trunk.read(TAGGER, data), sender

    def send(self, relay: tuple[str, int], *frames: tuple[bytes, bytes]) -> None:
        self.count += 1
        sender = self.lease.index << 16 | self.lease.epoch
        data = trunk.pack(TAGGER, sender, int(time.time()), self.count, frames)
        self.sock.sendto(data, relay)


@pytest.fixture
async def node(relay: RunningRelay, redis_url: str) -> AsyncIterator[Node]:
    store = RedisStore(redis_url, 0, token_ring)
    with bound("127.0.0.1") as sock:
        lease = await store.claim("test-node", Address(*sock.getsockname()[:2]))
        await relay.until(lambda stats: stats.nodes == 1)
        yield Node(sock, lease)
    await store.close()


def bound(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((host, 0))
    return sock


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_packets_go_both_ways(relay: RunningRelay, node: Node, host: str) -> None:
    """A check makes a flow; media follows it; what the node sends reaches the client."""
    loop = asyncio.get_running_loop()
    with bound(host) as sock:
        me = pack_address(*sock.getsockname()[:2])
        for packet in (check(node.ufrag()), media(160), b"\x16\xfe\xfd dtls"):
            await loop.sock_sendto(sock, packet, (host, relay.port))
            datagram, worker = await node.receive()
            assert datagram.frames == ((me, packet),)
        node.send(worker, (me, b"to the client"))
        assert await loop.sock_recv(sock, 2000) == b"to the client"
        stats = await relay.stats()
        assert stats.total["flows_made"] == 1
        [flow] = (await relay.admin.ListFlows(admin_pb2.ListFlowsRequest())).flows
        assert flow.node == node.lease.index
        assert flow.client_network in {"127.0.0.0/24", "::/48"}


async def test_clients_spread_over_both_workers(relay: RunningRelay, node: Node) -> None:
    """With forty clients on one port, both workers have flows."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:  # open all the while, or two clients could have one port
        for _ in range(40):
            sock = stack.enter_context(bound("127.0.0.1"))
            await loop.sock_sendto(sock, check(node.ufrag()), ("127.0.0.1", relay.port))
            await node.receive()
    workers = (await relay.stats()).workers
    assert sum(worker.flows for worker in workers) == 40
    assert all(worker.flows for worker in workers)
    assert len({worker.cpu for worker in workers}) == min(2, len(os.sched_getaffinity(0)))


async def test_a_killed_worker_is_replaced_with_its_flows(relay: RunningRelay, node: Node) -> None:
    """After SIGKILL the successor routes media of flows it never saw made, on the same socket."""
    loop = asyncio.get_running_loop()
    with bound("127.0.0.1") as sock:
        target = ("127.0.0.1", relay.port)
        await loop.sock_sendto(sock, check(node.ufrag()), target)
        _, worker_before = await node.receive()
        before = next(worker for worker in (await relay.stats()).workers if worker.flows)
        os.kill(before.pid, signal.SIGKILL)
        await loop.sock_sendto(sock, media(99), target)
        datagram, worker_after = await node.receive()
        assert datagram.frames[0][1] == media(99)
        assert worker_after == worker_before
        after = (await relay.stats()).workers[before.worker]
        assert after.restarts == 1
        assert after.pid != before.pid


async def test_a_worker_that_hangs_is_replaced(relay: RunningRelay, node: Node) -> None:
    """A stopped worker does not beat; the supervisor ends it and a successor goes on."""
    stats = await relay.stats()
    victim = stats.workers[0]
    os.kill(victim.pid, signal.SIGSTOP)
    await relay.until(lambda s: s.workers[0].pid not in {0, victim.pid})
    assert (await relay.stats()).workers[0].restarts == 1


async def test_what_waited_while_a_worker_stood_still_is_passed_over(
    relay: RunningRelay, node: Node
) -> None:
    """Packets older than a second are counted and go nowhere; those that come now are forwarded."""
    loop = asyncio.get_running_loop()
    target = ("127.0.0.1", relay.port)
    with bound("127.0.0.1") as sock:
        me = pack_address(*sock.getsockname()[:2])
        await loop.sock_sendto(sock, check(node.ufrag()), target)
        _, worker = await node.receive()
        stood_still = [one.pid for one in (await relay.stats()).workers if one.pid]
        for pid in stood_still:
            os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(5):
                await loop.sock_sendto(sock, media(), target)
                node.send(worker, (me, b"old"))
            await asyncio.sleep(WORTH_S + 0.1)  # they grow old: nothing else says when
            await loop.sock_sendto(sock, media(99), target)
            node.send(worker, (me, b"new"))
        finally:
            for pid in stood_still:
                os.kill(pid, signal.SIGCONT)
        assert (await node.receive())[0].frames == ((me, media(99)),)
        assert await loop.sock_recv(sock, 2000) == b"new"
        await relay.until(lambda stats: stats.total["drop_up_stale"] == 5)
        await relay.until(lambda stats: stats.total["drop_down_stale"] == 5)


async def test_redis_gone_does_not_touch_calls(
    make_redis: Callable[..., RedisServer],
) -> None:
    """With Redis dead, live flows go on and new clients are still routed by their token."""
    redis = make_redis()
    port, admin = free_port(socket.SOCK_DGRAM), free_port()
    process = await launch(environment(redis.url, port, admin, free_port()))
    store = RedisStore(redis.url, 0, token_ring)
    loop = asyncio.get_running_loop()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{admin}") as channel:
        running = RunningRelay(process, port, channel)
        await until_serving(channel)
        with bound("127.0.0.1") as trunk_sock, bound("127.0.0.1") as sock:
            lease = await store.claim("n", Address(*trunk_sock.getsockname()[:2]))
            node = Node(trunk_sock, lease)
            await running.until(lambda stats: stats.nodes == 1)
            redis.stop()
            await store.close()
            await loop.sock_sendto(sock, check(node.ufrag()), ("127.0.0.1", port))
            await node.receive()
            await loop.sock_sendto(sock, media(), ("127.0.0.1", port))
            await node.receive()
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


async def workers_and_spare(process: asyncio.subprocess.Process) -> list[psutil.Process]:
    """The relay's children, once two workers and a spare are there."""
    while len(children := psutil.Process(process.pid).children(recursive=True)) < 3:
        await asyncio.sleep(0.02)
    return children


async def test_stopping_leaves_no_process(redis_url: str) -> None:
    """SIGTERM ends the supervisor with status 0, and every worker and the spare with it."""
    admin = free_port()
    process = await launch(environment(redis_url, free_port(socket.SOCK_DGRAM), admin, free_port()))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{admin}") as channel:
        await until_serving(channel)
    children = await workers_and_spare(process)
    process.terminate()
    await process.communicate()
    assert process.returncode == 0
    assert not any(child.is_running() for child in children)


async def test_workers_do_not_outlive_a_killed_supervisor(redis_url: str) -> None:
    """SIGKILL on the supervisor: workers read the end of their channel and go."""
    admin = free_port()
    process = await launch(environment(redis_url, free_port(socket.SOCK_DGRAM), admin, free_port()))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{admin}") as channel:
        await until_serving(channel)
    children = await workers_and_spare(process)
    process.kill()
    await process.communicate()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, children, 10)
    assert len(gone) == 3
    assert not alive


async def test_a_taken_port_is_one_clear_line(redis_url: str) -> None:
    """A second relay on the port says so and exits 1, although SO_REUSEPORT would let it in."""
    with bound("127.0.0.1") as sock:
        port = sock.getsockname()[1]
        process = await launch(environment(redis_url, port, free_port(), free_port()))
        _, stderr = await process.communicate()
    assert process.returncode == 1
    assert stderr.decode() == f"cannot start: UDP port {port} is already taken\n"


async def test_redis_unreachable_at_start_is_one_clear_line() -> None:
    """Without Redis there is no directory to start from; the reason names host and port only."""
    url = f"redis://user:secret@127.0.0.1:{free_port()}/0"
    process = await launch(environment(url, free_port(socket.SOCK_DGRAM), free_port(), free_port()))
    _, stderr = await process.communicate()
    lines = stderr.decode().splitlines()
    assert process.returncode == 1
    assert lines[-1].startswith("cannot start: ")
    assert "secret" not in stderr.decode()


@pytest.mark.parametrize(
    ("size", "page", "detail"),
    [(1001, "", "page_size"), (0, "x", "page_token"), (0, "9.0", "page_token")],
)
async def test_bad_pages_are_refused(
    relay: RunningRelay, size: int, page: str, detail: str
) -> None:
    """INVALID_ARGUMENT with the field's name."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await relay.admin.ListFlows(admin_pb2.ListFlowsRequest(page_size=size, page_token=page))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail in (caught.value.details() or "")
