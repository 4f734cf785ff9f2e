"""The operator's hand on a whole relay: drain, limits, keys, watching, over a real connection."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass, field

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fleet.directory.redis_store import RedisStore
from relay.shared.latency import BUCKETS
from relay.supervisor.admin import MAX_WATCHERS
from tests.conftest import free_port
from tests.relay import kit
from tests.relay.shared.test_voice_health import rtp
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
from trunkline.v1 import admin_pb2
from wire import stun, token, trunk
from wire.address import pack_address
from wire.keys import KeyRing

OLD = KeyRing(1, {1: b"t" * 32})
BOTH = KeyRing(3, {3: b"T" * 32, 1: b"t" * 32})
NEW = KeyRing(3, {3: b"T" * 32})
OLD_TRUNK = KeyRing(2, {2: b"k" * 32})
BOTH_TRUNK = KeyRing(4, {4: b"K" * 32, 2: b"k" * 32})
NEW_TRUNK = KeyRing(4, {4: b"K" * 32})


@dataclass
class Watched(RunningRelay):
    """A running relay whose log is kept."""

    metrics_port: int = 0
    log: list[str] = field(default_factory=list)

    async def logged(self, event: str) -> str:
        """The first line of an event; the test's own time limit ends a wait in vain."""
        while True:
            for line in self.log:
                if f'"{event}"' in line:
                    return line
            await asyncio.sleep(0.01)


@pytest.fixture
async def relay(redis_url: str) -> AsyncIterator[Watched]:
    port, admin, metrics = free_port(socket.SOCK_DGRAM), free_port(), free_port()
    env = environment(redis_url, port, admin, metrics)
    process = await launch({**env, "TRUNKLINE_LOG_FORMAT": "json"})
    async with grpc.aio.insecure_channel(f"127.0.0.1:{admin}") as channel:
        it = Watched(process, port, channel, metrics)
        reader = asyncio.create_task(read_log(process, it.log))
        await until_serving(channel)
        yield it
    if process.returncode is None:
        process.terminate()
    await process.wait()
    await reader
    assert process.returncode == 0


async def read_log(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    assert process.stderr
    async for line in process.stderr:
        lines.append(line.decode())


@pytest.fixture
async def node(relay: Watched, redis_url: str) -> AsyncIterator[Node]:
    store = RedisStore(redis_url, 0, token_ring)
    with bound("127.0.0.1") as sock:
        lease = await store.claim("test-node", Address(*sock.getsockname()[:2]))
        await relay.until(lambda stats: stats.nodes == 1)
        yield Node(sock, lease)
    await store.close()


def check(node: Node, keys: KeyRing) -> bytes:
    """A first check of a new call whose token is signed with the current key of `keys`."""
    ufrag = token.mint(keys, token.Route(0, node.lease.index, node.lease.epoch), os.urandom(4))
    attributes = [(stun.Attribute.USERNAME, f"{ufrag}:x".encode())]
    password = token.password(keys, ufrag)
    return stun.write(1, stun.MessageClass.REQUEST, os.urandom(12), attributes, password)


async def status_of(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), failed.value.details() or ""


@dataclass
class Caller:
    """A client's socket and the node it talks to."""

    relay: Watched
    node: Node
    sock: socket.socket

    @property
    def address(self) -> bytes:
        return pack_address(*self.sock.getsockname()[:2])

    async def say(self, packet: bytes) -> None:
        await asyncio.get_running_loop().sock_sendto(
            self.sock, packet, ("127.0.0.1", self.relay.port)
        )

    async def heard(self, trunk_keys: KeyRing) -> tuple[bytes, tuple[str, int]]:
        """The next packet at the node, whose datagram must be tagged with the current key."""
        data, worker = await asyncio.get_running_loop().sock_recvfrom(self.node.sock, 2000)
        assert data[1] == trunk_keys.current
        datagram = trunk.read(trunk.Tagger(trunk_keys), data)
        assert datagram.frames[0][0] == self.address
        return datagram.frames[0][1], worker

    def reply(self, trunk_keys: KeyRing, packet: bytes, worker: tuple[str, int]) -> None:
        self.node.count += 1
        sender = self.node.lease.index << 16 | self.node.lease.epoch
        frames = ((self.address, packet),)
        tagger = trunk.Tagger(trunk_keys)
        data = trunk.pack(tagger, sender, int(time.time()), self.node.count, frames)
        self.node.sock.sendto(data, worker)


@pytest.fixture
def caller(relay: Watched, node: Node) -> Iterator[Caller]:
    with bound("127.0.0.1") as sock:
        yield Caller(relay, node, sock)


async def rotate(relay: Watched, tokens: KeyRing, trunks: KeyRing) -> list[list[int]]:
    request = admin_pb2.RotateKeysRequest(
        token_keys=tokens.export(), trunk_keys=trunks.export(), why="quarterly"
    )
    answer = await relay.admin.RotateKeys(request)
    return [list(answer.token_key_ids), list(answer.trunk_key_ids)]


async def test_keys_rotate_under_a_live_flow(relay: Watched, node: Node, caller: Caller) -> None:
    """Old, both, new: media goes both ways at each step, and the retired keys then open nothing."""
    loop = asyncio.get_running_loop()
    await caller.say(check(node, OLD))
    await caller.heard(OLD_TRUNK)
    steps = [(BOTH, BOTH_TRUNK, OLD_TRUNK), (NEW, NEW_TRUNK, NEW_TRUNK)]
    for tokens, trunks, node_signs_with in steps:
        assert await rotate(relay, tokens, trunks) == [
            [tokens.current, *(i for i in tokens.keys if i != tokens.current)],
            [trunks.current, *(i for i in trunks.keys if i != trunks.current)],
        ]
        await caller.say(kit.media(77))
        packet, worker = await caller.heard(trunks)
        assert packet == kit.media(77)
        caller.reply(node_signs_with, b"back", worker)
        assert await loop.sock_recv(caller.sock, 100) == b"back"
    caller.reply(OLD_TRUNK, b"forged", worker)
    await relay.until(lambda stats: stats.total["drop_trunk_key"] == 1)
    with bound("127.0.0.1") as other:
        late = Caller(relay, node, other)
        await late.say(check(node, OLD))
        await relay.until(lambda stats: stats.total["drop_token_key"] == 1)
        await late.say(check(node, NEW))
        await late.heard(NEW_TRUNK)


async def test_a_replaced_worker_has_the_new_keys(
    relay: Watched, node: Node, caller: Caller
) -> None:
    """What was ordered at run time outlives the worker that heard it."""
    await rotate(relay, BOTH, NEW_TRUNK)
    await relay.admin.SetLimits(admin_pb2.SetLimitsRequest(strangers=0))
    await caller.say(check(node, BOTH))
    _, worker = await caller.heard(NEW_TRUNK)
    before = next(w for w in (await relay.stats()).workers if w.flows)
    os.kill(before.pid, 9)
    await caller.say(kit.media())
    assert (await caller.heard(NEW_TRUNK))[1] == worker


BAD_RINGS = [
    "1:" + "ab" * 31,
    "ab" * 32 + ":1",
    "16:" + "ab" * 32,
    "1:" + "ab" * 32 + ",1:" + "cd" * 32,
    "ab" * 32,
]


async def test_bad_keys_are_refused_and_not_quoted(relay: Watched) -> None:
    """INVALID_ARGUMENT with the field's name and no digit of a key; the old keys stay."""
    for text in BAD_RINGS:
        request = admin_pb2.RotateKeysRequest(trunk_keys=text)
        code, details = await status_of(relay.admin.RotateKeys(request))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.startswith("trunk_keys: ")
        assert "abab" not in details
    answer = await relay.admin.RotateKeys(admin_pb2.RotateKeysRequest())
    assert list(answer.trunk_key_ids) == [2]
    assert "keys_rotated" in await relay.logged("keys_rotated")
    assert not any("abab" in line or "6b6b" in line for line in relay.log)


async def test_an_operators_doing_is_logged(relay: Watched) -> None:
    """Event, who (redacted) and why, in one line; a why that is too long is refused."""
    await relay.admin.Drain(admin_pb2.RelayDrainRequest(why="node 203.0.113.77\nis old"))
    line = await relay.logged("relay_drain_asked")
    assert '"who": "local"' in line
    assert "203.0.113.0/24 is old" in line
    call = relay.admin.Drain(admin_pb2.RelayDrainRequest(why="x" * 201))
    assert (await status_of(call))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_drain_turns_new_callers_away_and_keeps_the_flows(
    relay: Watched, node: Node, caller: Caller
) -> None:
    """Health says NOT_SERVING while packets still go through, and SERVING again when undone."""
    await caller.say(check(node, OLD))
    await caller.heard(OLD_TRUNK)
    health = health_pb2_grpc.HealthStub(relay.channel).Watch(health_pb2.HealthCheckRequest())
    statuses = health.__aiter__()
    assert (await anext(statuses)).status == health_pb2.HealthCheckResponse.SERVING
    assert (await relay.admin.Drain(admin_pb2.RelayDrainRequest())).flows == 1
    assert (await anext(statuses)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert (await relay.stats()).draining
    await caller.say(kit.media())
    await caller.heard(OLD_TRUNK)
    await relay.admin.Drain(admin_pb2.RelayDrainRequest(undo=True))
    assert (await anext(statuses)).status == health_pb2.HealthCheckResponse.SERVING
    health.cancel()


async def test_limits_change_at_run_time(relay: Watched, node: Node, caller: Caller) -> None:
    """A rate of strangers bites after SetLimits and not before; live media does not feel it."""
    await caller.say(check(node, OLD))
    await caller.heard(OLD_TRUNK)
    assert (await relay.stats()).limits.strangers == 2000
    answer = await relay.admin.SetLimits(admin_pb2.SetLimitsRequest(strangers=1, why="flood"))
    assert (answer.strangers, answer.checks, answer.packets) == (1, 50, 0)
    with bound("127.0.0.1") as stranger:
        flood = Caller(relay, node, stranger)
        for _ in range(20):
            await flood.say(b"\x00\x01 no stun")
    await relay.until(lambda stats: stats.total["drop_rate_limited"] >= 15)
    await caller.say(kit.media())
    await caller.heard(OLD_TRUNK)


async def test_a_limit_out_of_range_is_refused(relay: Watched) -> None:
    """INVALID_ARGUMENT that names the budget; nothing has changed."""
    call = relay.admin.SetLimits(admin_pb2.SetLimitsRequest(checks=4_000_000_000))
    code, details = await status_of(call)
    assert (code, details[:6]) == (grpc.StatusCode.INVALID_ARGUMENT, "checks")
    assert (await relay.stats()).limits.checks == 50


async def test_watch_streams_gains(relay: Watched, node: Node, caller: Caller) -> None:
    """The first message is everything so far; a later one has what a packet added."""
    stream = relay.admin.Watch(admin_pb2.WatchRequest(interval_ms=100)).__aiter__()
    first = await anext(stream)
    assert (first.elapsed_ms, first.workers_up, first.draining) == (0, 2, False)
    await caller.say(check(node, OLD))
    gained: dict[str, int] = {}
    while "flows_made" not in gained:
        message = await anext(stream)
        gained.update(message.gained)
        assert message.elapsed_ms >= 100
    assert message.flows == 1


async def test_watchers_are_bounded_and_leave_their_place(relay: Watched) -> None:
    """One too many is RESOURCE_EXHAUSTED; when one has gone there is room again."""
    request = admin_pb2.WatchRequest(interval_ms=100)
    calls = [relay.admin.Watch(request) for _ in range(MAX_WATCHERS)]
    for call in calls:
        await call.read()
    code, _ = await status_of(relay.admin.Watch(request).read())
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    calls[0].cancel()
    while True:  # until the relay has noticed
        another = relay.admin.Watch(request)
        try:
            await another.read()
            break
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.01)
    for call in [*calls, another]:
        call.cancel()


async def test_a_watch_interval_out_of_range_is_refused(relay: Watched) -> None:
    """INVALID_ARGUMENT with the field's name."""
    for interval_ms in (99, 60_001):
        call = relay.admin.Watch(admin_pb2.WatchRequest(interval_ms=interval_ms))
        code, details = await status_of(call.read())
        assert (code, details[:11]) == (grpc.StatusCode.INVALID_ARGUMENT, "interval_ms")


async def test_voice_health_of_a_flow(relay: Watched, node: Node, caller: Caller) -> None:
    """A flow asked about tells its packets and its loss from then on, by the id of ListFlows."""
    await caller.say(check(node, OLD))
    await caller.heard(OLD_TRUNK)
    [flow] = (await relay.admin.ListFlows(admin_pb2.ListFlowsRequest())).flows
    assert re.fullmatch(r"[01]\.\d+\.[0-9a-f]{12}", flow.flow_id)
    request = admin_pb2.WatchFlowsRequest(flow_ids=[flow.flow_id])
    [health] = (await relay.admin.WatchFlows(request)).flows
    assert (health.flow_id, health.packets, health.lost) == (flow.flow_id, 0, 0)
    for sequence in (1, 2, 4, 5):
        await caller.say(rtp(sequence, 960 * sequence))
        await caller.heard(OLD_TRUNK)
    while health.packets < 4:  # the worker counts after it has sent
        [health] = (await relay.admin.WatchFlows(request)).flows
    assert (health.packets, health.lost) == (4, 1)


NOT_WATCHABLE = [
    ([], grpc.StatusCode.INVALID_ARGUMENT),
    (["0.0.000000000000"] * 65, grpc.StatusCode.INVALID_ARGUMENT),
    (["0.0.000000000000"], grpc.StatusCode.NOT_FOUND),
    (["9.0.000000000000"], grpc.StatusCode.NOT_FOUND),
    (["x"], grpc.StatusCode.NOT_FOUND),
    (["0.-1.00"], grpc.StatusCode.NOT_FOUND),
]


async def test_flows_that_cannot_be_watched(relay: Watched) -> None:
    """None or too many ids, and ids that lead to no flow."""
    for flow_ids, code in NOT_WATCHABLE:
        call = relay.admin.WatchFlows(admin_pb2.WatchFlowsRequest(flow_ids=flow_ids))
        assert (await status_of(call))[0] is code


async def test_latency_is_in_stats_and_in_the_metrics(
    relay: Watched, node: Node, caller: Caller
) -> None:
    """A batch each way is a sample each way, as a Prometheus histogram and in Stats."""
    await caller.say(check(node, OLD))
    _, worker = await caller.heard(OLD_TRUNK)
    caller.reply(OLD_TRUNK, b"back", worker)
    await asyncio.get_running_loop().sock_recv(caller.sock, 100)
    await relay.until(lambda stats: all(sampled(stats)))
    stats = await relay.stats()
    assert all(len(w.up_latency.counts) == BUCKETS for w in stats.workers)
    url = f"http://127.0.0.1:{relay.metrics_port}/metrics"
    text = (await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())).decode()
    counts = re.findall(r'batch_seconds_count\{direction="(\w+)",worker="\d"\} (\d+)', text)
    assert sum(float(n) for direction, n in counts if direction == "up") == 1
    assert sum(float(n) for direction, n in counts if direction == "down") == 1
    assert 'le="+Inf"' in text
    assert "trunkline_relay_up_queue_overflow_total" in text


def sampled(stats: admin_pb2.StatsResponse) -> list[int]:
    ups = sum(sum(w.up_latency.counts) for w in stats.workers)
    downs = sum(sum(w.down_latency.counts) for w in stats.workers)
    return [ups, downs]


async def test_trunk_datagrams_from_elsewhere_are_refused(
    relay: Watched, node: Node, caller: Caller
) -> None:
    """A good tag from a socket that is not the node's opens nothing."""
    await caller.say(check(node, OLD))
    _, worker = await caller.heard(OLD_TRUNK)
    with bound("127.0.0.1") as elsewhere:
        impostor = Caller(relay, Node(elsewhere, node.lease), caller.sock)
        impostor.reply(OLD_TRUNK, b"not me", worker)
        await relay.until(lambda stats: stats.total["drop_trunk_source"] == 1)
    caller.reply(OLD_TRUNK, b"me", worker)
    assert await asyncio.get_running_loop().sock_recv(caller.sock, 100) == b"me"
