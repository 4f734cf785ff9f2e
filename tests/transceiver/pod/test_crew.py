"""A transceiver of two processes, with a real Redis and a backend in this process."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from aiohttp import (
    ClientSession,
    ClientWebSocketResponse,
    TCPConnector,
    WSMsgType,
    WSServerHandshakeError,
)

from backends.echo import echo
from fleet.directory.directory import Node
from fleet.directory.redis_store import RedisStore
from tests.backends.kit import serving
from tests.conftest import RedisServer, free_port
from tests.rings import token_ring
from tests.transceiver.offers import real_offer
from transceiver.call.call_id import origin_of
from trunkline.v1 import admin_pb2, admin_pb2_grpc

CLUSTER = 78
TIMEOUT_S = 30.0
HEADERS = {"Authorization": "Bearer key-one"}
ROOT = Path(__file__).parents[3]


class Pod:
    """The parent process, and its HTTP port through connections that are never used twice."""

    def __init__(
        self,
        process: subprocess.Popen[str],
        http_port: int,
        admin_port: int,
        client: ClientSession,
    ) -> None:
        self.process = process
        self._client = client
        self.admin_port = admin_port
        self._url = f"http://127.0.0.1:{http_port}"

    async def ask(
        self, method: str, path: str, body: str = "", **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of one request, answered by whichever process accepts."""
        request = self._client.request(
            method, self._url + path, data=body, headers={**HEADERS, **headers}
        )
        async with request as answer:
            return answer.status, dict(answer.headers), await answer.text()

    async def place(self) -> str | None:
        """Place a call; its id, or None while the process has no backend yet."""
        status, headers, _ = await self.ask(
            "POST", "/whip", real_offer(), **{"Content-Type": "application/sdp"}
        )
        assert status in (201, 503)
        return headers["Location"].rpartition("/")[2] if status == 201 else None

    async def place_on_both(self) -> dict[int, str]:
        """A call of each process, by process; many connections at once, so that both accept."""
        found: dict[int, str] = {}
        async with asyncio.timeout(TIMEOUT_S):
            while len(found) < 2:
                placed = await asyncio.gather(*(self.place() for _ in range(8)))
                found |= {owner(call_id): call_id for call_id in placed if call_id}
        return found

    async def join(self, call_id: str, key: str = "key-one") -> ClientWebSocketResponse:
        """A side band of a call, by a connection that is never used twice."""
        url = f"{self._url}/v1/realtime?call_id={call_id}"
        return await self._client.ws_connect(url, headers={"Authorization": f"Bearer {key}"})

    async def refusal_to_join(self, call_id: str, key: str = "key-one") -> int:
        """The status that a side band is refused with."""
        with pytest.raises(WSServerHandshakeError) as refused:
            await self.join(call_id, key)
        return refused.value.status

    async def calls_of(self, index: int) -> int:
        """Live calls of one process, as its own admin port says."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.admin_port + index}") as channel:
            stub: Any = admin_pb2_grpc.TransceiverAdminStub(channel)  # type: ignore[no-untyped-call]
            answer = await stub.ListCalls(admin_pb2.ListCallsRequest(), wait_for_ready=True)
            return int(answer.total)

    def children(self) -> list[int]:
        """The pids of its processes."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]


def owner(call_id: str) -> int:
    origin = origin_of(call_id)
    assert origin is not None
    return origin.process


def start(
    redis: RedisServer, backend_port: int, http_port: int, admin_port: int
) -> subprocess.Popen[str]:
    environment = {
        "TRUNKLINE_CLUSTER": str(CLUSTER),
        "TRUNKLINE_TOKEN_KEYS": "1:" + "74" * 32,
        "TRUNKLINE_TRUNK_KEYS": "1:" + "22" * 32,
        "TRUNKLINE_REDIS_URL": redis.url,
        "TRUNKLINE_TRANSCEIVER_RELAYS": "203.0.113.10:3478",
        "TRUNKLINE_TRANSCEIVER_API_KEYS": "key-one",
        "TRUNKLINE_TRANSCEIVER_HTTP": f"127.0.0.1:{http_port}",
        "TRUNKLINE_TRANSCEIVER_ADMIN": f"127.0.0.1:{admin_port}",
        "TRUNKLINE_TRANSCEIVER_BACKEND": f"127.0.0.1:{backend_port}",
        "TRUNKLINE_TRANSCEIVER_PROCESSES": "2",
        "TRUNKLINE_TRANSCEIVER_DRAIN_S": "0",  # no caller ever comes to these calls
        "TRUNKLINE_LOG_FORMAT": "json",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "transceiver"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


@asynccontextmanager
async def pod(redis: RedisServer, backend_port: int) -> AsyncIterator[Pod]:
    """Two processes that are up; all of it ended when the block is left."""
    http_port, admin_port = free_port(), free_port(successors=1)
    process = start(redis, backend_port, http_port, admin_port)
    try:
        await asyncio.to_thread(until_logged, process, "transceiver_crew_started")
        async with ClientSession(connector=TCPConnector(force_close=True)) as client:
            yield Pod(process, http_port, admin_port, client)
    finally:
        process.terminate()
        await asyncio.to_thread(process.communicate, timeout=TIMEOUT_S)


def until_logged(process: subprocess.Popen[str], event: str) -> None:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if event in line:
            return
    raise AssertionError("".join(lines))


@pytest.fixture
async def two(redis_server: RedisServer) -> AsyncIterator[Pod]:
    async with serving(echo) as backend, pod(redis_server, backend.port) as running:
        async with asyncio.timeout(TIMEOUT_S):
            while (await running.ask("GET", "/healthz"))[0] != 200:
                await asyncio.sleep(0.05)
        yield running


async def test_one_port_two_processes(two: Pod, redis_server: RedisServer) -> None:
    """Both take calls at the one port, each as a node of its own with a trunk port of its own."""
    calls = await two.place_on_both()
    nodes = await nodes_of(redis_server)
    assert len({node.index for node in nodes}) == 2
    assert len({node.trunk.port for node in nodes}) == 2
    assert set(calls) == {0, 1}
    assert min([await two.calls_of(0), await two.calls_of(1)]) >= 1


async def test_a_call_is_ended_whoever_is_asked(two: Pod) -> None:
    """Hanging up and changing a call reach its owner; what an answer says is the owner's word."""
    for call_id in (await two.place_on_both()).values():
        for _ in range(8):  # whoever accepts
            status, headers, _ = await two.ask("PATCH", f"/whip/{call_id}", "x")
            assert (status, headers["Accept-Patch"]) == (415, "application/trickle-ice-sdpfrag")
            status, _, _ = await two.ask("DELETE", f"/whip/{call_id}", Authorization="Bearer no")
            assert status == 401
        assert (await two.ask("DELETE", f"/whip/{call_id}"))[0] == 200
        assert {(await two.ask("DELETE", f"/whip/{call_id}"))[0] for _ in range(8)} == {404}
        path = f"/v1/realtime/calls/{call_id}/hangup"
        assert (await two.ask("POST", path))[0] == 404


async def test_a_side_band_joins_a_call_whoever_accepts(two: Pod) -> None:
    """What it says comes back from the backend as what the caller is sent; it ends with the call,
    and one without a good key or a live call is refused in the owner's words."""
    for call_id in (await two.place_on_both()).values():
        sockets = [await two.join(call_id) for _ in range(4)]  # as many as a call may have
        for number, side in enumerate(sockets):
            await side.send_str(f'{{"number": {number}}}')
        for side in sockets:
            heard = {await side.receive_str() for _ in sockets}
            assert heard == {f'{{"number": {number}}}' for number in range(4)}
        assert await two.refusal_to_join(call_id) == 503
        assert await two.refusal_to_join(call_id, "nobody") == 401
        assert (await two.ask("GET", f"/v1/realtime?call_id={call_id}"))[0] == 426
        assert (await two.ask("DELETE", f"/whip/{call_id}"))[0] == 200
        for side in sockets:
            assert (await side.receive(TIMEOUT_S)).type is WSMsgType.CLOSE
            assert side.close_code == 1000
        assert {await two.refusal_to_join(call_id) for _ in range(4)} == {404}


async def test_metrics_are_those_of_all(two: Pod) -> None:
    """Any process answers for both, each sample saying whose it is."""
    await two.place_on_both()
    counted = {process: await two.calls_of(process) for process in (0, 1)}
    for _ in range(4):
        _, _, page = await two.ask("GET", "/metrics")
        found = re.findall(r'trunkline_transceiver_calls\{process="(\d)"\} (\d+)', page)
        assert {int(process): int(calls) for process, calls in found} == counted


async def test_a_process_that_crashes_is_replaced(two: Pod) -> None:
    """Its calls end, those of its neighbour go on, the port stays, and both take calls again."""
    calls = await two.place_on_both()
    before = two.children()
    survivors = await two.calls_of(1)
    await asyncio.to_thread(signal_first, two, signal.SIGKILL)
    await asyncio.to_thread(until_logged, two.process, "transceiver_process_restarted")
    assert len(set(two.children()) & set(before)) == 1
    assert await two.calls_of(0) == 0
    assert await two.calls_of(1) == survivors
    assert {(await two.ask("DELETE", f"/whip/{calls[0]}"))[0] for _ in range(4)} == {404}
    assert (await two.ask("DELETE", f"/whip/{calls[1]}"))[0] == 200
    assert set(await two.place_on_both()) == {0, 1}


async def nodes_of(redis: RedisServer) -> tuple[Node, ...]:
    store = RedisStore(redis.url, CLUSTER, token_ring)
    try:
        return tuple((await store.snapshot()).nodes)
    finally:
        await store.close()


def ended(pidfd: int) -> list[int]:
    """The process descriptor once its process has ended; nothing when it goes on for too long."""
    return select.select([pidfd], [], [], TIMEOUT_S)[0]


def signal_first(running: Pod, number: signal.Signals) -> None:
    """Signal process 0, found by its command line."""
    for pid in running.children():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if command[3] == b"0":
            os.kill(pid, number)


def up_of(page: str) -> dict[int, int]:
    found = re.findall(r'trunkline_transceiver_process_up\{process="(\d)"\} (\d)', page)
    return {int(process): int(up) for process, up in found}


async def test_a_process_that_is_stopped_is_replaced(two: Pod) -> None:
    """Until then the page of metrics comes without it and says so; the neighbour's calls go on."""
    calls = await two.place_on_both()
    survivors = await two.calls_of(1)
    assert up_of((await two.ask("GET", "/metrics"))[2]) == {0: 1, 1: 1}
    await asyncio.to_thread(signal_first, two, signal.SIGSTOP)
    async with asyncio.timeout(TIMEOUT_S):
        async with asyncio.timeout(5.0):  # a scraper gives up after ten
            page = (await two.ask("GET", "/metrics"))[2]
        assert up_of(page) == {0: 0, 1: 1}
        await asyncio.to_thread(until_logged, two.process, "transceiver_process_hung")
        await asyncio.to_thread(until_logged, two.process, "transceiver_process_restarted")
    assert await two.calls_of(1) == survivors
    assert (await two.ask("DELETE", f"/whip/{calls[1]}"))[0] == 200
    assert set(await two.place_on_both()) == {0, 1}


async def test_the_end_of_the_parent_ends_all(redis_server: RedisServer) -> None:
    """SIGTERM ends both in order; when the parent is killed they notice and leave too."""
    async with serving(echo) as backend:
        for how in (signal.SIGTERM, signal.SIGKILL):
            async with pod(redis_server, backend.port) as running:
                children = {pid: os.pidfd_open(pid) for pid in running.children()}
                running.process.send_signal(how)
                await asyncio.to_thread(running.process.communicate, timeout=TIMEOUT_S)
            assert running.process.returncode == (0 if how is signal.SIGTERM else -how)
            for pidfd in children.values():
                assert pidfd in (await asyncio.to_thread(ended, pidfd))
                os.close(pidfd)
            left = {node.name.rpartition(":")[2] for node in await nodes_of(redis_server)}
            assert not left & set(map(str, children))


async def test_a_process_that_cannot_start_ends_the_start(redis_server: RedisServer) -> None:
    """When the second process's admin port is taken the pod says so, and exits with 1."""
    admin_port = free_port(successors=1)
    with socket.create_server(("127.0.0.1", admin_port + 1)):
        process = start(redis_server, free_port(), free_port(), admin_port)
        _, said = await asyncio.to_thread(process.communicate, timeout=TIMEOUT_S)
    assert process.returncode == 1
    complaints = [line for line in said.splitlines() if line.startswith("cannot start")]
    assert complaints == [
        f"cannot start: 127.0.0.1:{admin_port + 1} is in use by another process",
        "cannot start: process 1 of the transceiver did not start",
    ]
