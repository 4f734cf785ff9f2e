"""The transceivers of a stand, process by process: who they are, and which calls each has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from launcher import NotRunningError
from loadtest.stand import Stand
from trunkline.process.address import Address
from trunkline.v1 import admin_pb2, admin_pb2_grpc

PROCESSES = 2  # of each transceiver
ADMIN_TIMEOUT_S = 2.0
WHY = "loadtest survive"
_MEMBER = "transceiver.pod.crew_member"


@dataclass(frozen=True)
class Process:
    """One process of a transceiver: the part it is of, its number in it, and its pid."""

    part: str
    index: int
    pid: int


def processes(stand: Stand, part: str) -> Iterator[Process]:
    """Those of a part that are there now, without their supervisor."""
    try:
        supervisor = stand.keepers[part].pid
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    except (NotRunningError, OSError):
        return
    for pid in map(int, children):
        index = _index(pid)
        if index is not None:
            yield Process(part, index, pid)


def admin_of(stand: Stand, part: str, index: int) -> str:
    """The gRPC target of a process: they have ports in sequence."""
    first = Address.parse(stand.admin(part))
    return str(Address(first.host, first.port + index))


async def calls_of(stand: Stand, part: str, index: int) -> list[str]:
    """The calls of a process; none when it does not answer."""
    try:
        async with grpc.aio.insecure_channel(admin_of(stand, part, index)) as channel:
            stub = admin_pb2_grpc.TransceiverAdminStub(channel)  # type: ignore[no-untyped-call]
            request = admin_pb2.ListCallsRequest(page_size=1000)
            answer = await stub.ListCalls(request, timeout=ADMIN_TIMEOUT_S)
    except grpc.aio.AioRpcError:
        return []
    return [call.call_id for call in answer.calls]


async def calls_of_part(stand: Stand, part: str) -> frozenset[str]:
    """The calls of all processes of a transceiver."""
    found = [await calls_of(stand, part, one.index) for one in processes(stand, part)]
    return frozenset(call for calls in found for call in calls)


async def calls_of_backend(stand: Stand, part: str) -> list[str]:
    """The calls of a backend; none when it does not answer."""
    try:
        async with grpc.aio.insecure_channel(stand.admin(part)) as channel:
            stub = admin_pb2_grpc.BackendAdminStub(channel)  # type: ignore[no-untyped-call]
            request = admin_pb2.ListCallsRequest(page_size=1000)
            answer = await stub.ListCalls(request, timeout=ADMIN_TIMEOUT_S)
    except grpc.aio.AioRpcError:
        return []
    return [call.call_id for call in answer.calls]


async def all_answer(stand: Stand, found: Iterable[Process]) -> bool:
    """Whether each of these processes takes calls: it is ready, and not only there."""
    return all([await _ready(admin_of(stand, one.part, one.index)) for one in found])


async def _ready(target: str) -> bool:
    try:
        async with grpc.aio.insecure_channel(target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=ADMIN_TIMEOUT_S)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def busiest(stand: Stand) -> Process:
    """The process with most calls. Raises LookupError when there is none."""
    found = [
        (len(await calls_of(stand, part, process.index)), process.pid, process)
        for part in stand.names("transceiver")
        for process in processes(stand, part)
    ]
    if not found:
        raise LookupError("no transceiver process is there")
    return max(found)[2]


async def drain(stand: Stand, part: str, index: int, *, undo: bool) -> int:
    """Ask a process to give its calls away, or take that back; says how many it had.

    Raises grpc.aio.AioRpcError.
    """
    async with grpc.aio.insecure_channel(admin_of(stand, part, index)) as channel:
        stub = admin_pb2_grpc.TransceiverAdminStub(channel)  # type: ignore[no-untyped-call]
        request = admin_pb2.DrainRequest(undo=undo, why=WHY)
        answer = await stub.Drain(request, timeout=ADMIN_TIMEOUT_S)
    return int(answer.calls)


def _index(pid: int) -> int | None:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return int(words[words.index(_MEMBER.encode()) + 1])
    except (OSError, ValueError):
        return None
