"""What a machine does to a process: a log that nobody reads, no descriptor left."""

from __future__ import annotations

import asyncio
import itertools
import resource
from contextlib import suppress
from pathlib import Path

import grpc.aio

from loadtest.residue import family
from loadtest.siege.attackers.http import odd_admin_requests
from loadtest.siege.ground import Ground
from trunkline.v1 import admin_pb2, admin_pb2_grpc

STUCK = "stuck log reader"
SPARE = 4
KNOCKS = 300


async def stuck_log_reader(ground: Ground) -> None:
    """The processes are made to say much; whoever lays the siege reads nothing of it meanwhile."""
    await _set_level(ground, "debug")
    try:
        ground.done[STUCK] += 1
        await odd_admin_requests(ground)
    finally:
        await _set_level(ground, "warning")


async def _set_level(ground: Ground, level: str) -> None:
    for host, port in ground.map.admin_ports:
        async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
            stub = admin_pb2_grpc.ProcessAdminStub(channel)  # type: ignore[no-untyped-call]
            with suppress(grpc.aio.AioRpcError):
                await stub.SetLogLevel(
                    admin_pb2.SetLogLevelRequest(level=level, why="siege"), timeout=2.0
                )


async def descriptors(ground: Ground) -> None:
    """Each process may open a handful of descriptors more, and connections take them."""
    limits: dict[int, tuple[int, int]] = {}
    try:
        for part in ground.map.pids:
            for pid in family(part):
                limits[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (_open(pid) + SPARE, limits[pid][1]))
        await _knock(ground)
    finally:
        for pid, before in limits.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def _open(pid: int) -> int:
    """The number above all that are open: what the limit counts from."""
    return max(int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()) + 1


async def _knock(ground: Ground) -> None:
    ports = itertools.cycle([ground.map.http, *ground.map.admin_ports])
    writers: list[asyncio.StreamWriter] = []
    try:
        while True:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(0.5):
                    _, writer = await asyncio.open_connection(*next(ports))
                writers.append(writer)
                ground.done["descriptors"] += 1
            for writer in writers[: max(0, len(writers) - KNOCKS)]:
                writer.transport.abort()
            del writers[: max(0, len(writers) - KNOCKS)]
            await asyncio.sleep(0.02)
    finally:
        for writer in writers:
            writer.transport.abort()
