"""What processes hold (descriptors, threads, memory), and which calls and flows are left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

import aiohttp
import grpc.aio
from prometheus_client.parser import text_string_to_metric_families

from launcher import Stack
from loadtest.target import Target
from trunkline.v1 import admin_pb2, admin_pb2_grpc

ADMIN_TIMEOUT_S = 5.0
ALL = frozenset({"Pss:"})
WRITTEN = frozenset({"Pss_Anon:", "Pss_Shmem:"})
TASKS = "trunkline_transceiver_loop_tasks"


@dataclass(frozen=True)
class Usage:
    """What one part and all its child processes hold.

    `memory_bytes` is what they wrote, to memory of their own or that they share: what can leak.
    Pages of files (code) are not in it: a process's share of those changes with whoever else maps
    them, by several MiB when a test suite starts out of the same environment.
    """

    fds: int
    threads: int
    memory_bytes: int


def usage_of(pid: int) -> Usage:
    """Sum up a process and its descendants (proc(5)). Raises OSError when it is gone."""
    processes = [Path("/proc", str(member)) for member in family(pid)]
    return Usage(
        fds=sum(len(list((process / "fd").iterdir())) for process in processes),
        threads=sum(len(list((process / "task").iterdir())) for process in processes),
        memory_bytes=sum(_resident_bytes(process, WRITTEN) for process in processes),
    )


def memory_of(pid: int) -> int:
    """Resident bytes of a process and its descendants. Raises OSError when it is gone.

    A page that several share counts once among them (Pss of proc_pid_smaps(5)). The kernel walks
    every page for it: 27 ms of a core for a fleet of seventeen processes.
    """
    return sum(_resident_bytes(Path("/proc", str(member)), ALL) for member in family(pid))


def family(pid: int) -> list[int]:
    """Return a process and its descendants. Raises OSError when it is gone."""
    children = [
        int(child)
        for task in Path("/proc", str(pid), "task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return [pid, *(member for child in children for member in family(child))]


def _resident_bytes(process: Path, fields: Set[str]) -> int:
    lines = (process / "smaps_rollup").read_text().splitlines()[1:]
    sizes = (line.split() for line in lines)
    return 1024 * sum(int(size) for name, size, _ in sizes if name in fields)


def usage_of_parts(stack: Stack) -> dict[str, Usage]:
    """Return the usage of every part that runs, by name."""
    return {name: usage_of(keeper.pid) for name, keeper in stack.parts.items() if keeper.running}


def pids_of_parts(stack: Stack) -> dict[str, int]:
    """Return the pids, by name; other ones later mean that a part died in between."""
    return {name: keeper.pid for name, keeper in stack.parts.items() if keeper.running}


@dataclass(frozen=True)
class Alive:
    """Calls and flows that the admin API still lists."""

    calls: int
    flows: int


async def still_alive(stack: Stack) -> Alive:
    """Ask transceiver and relay. Raises grpc.aio.AioRpcError."""
    async with (
        grpc.aio.insecure_channel(stack.transceiver_admin) as transceiver,
        grpc.aio.insecure_channel(stack.relay_admin) as relay,
    ):
        calls_stub = admin_pb2_grpc.TransceiverAdminStub(transceiver)  # type: ignore[no-untyped-call]
        stats_stub = admin_pb2_grpc.RelayAdminStub(relay)  # type: ignore[no-untyped-call]
        calls = await calls_stub.ListCalls(
            admin_pb2.ListCallsRequest(page_size=1), timeout=ADMIN_TIMEOUT_S
        )
        stats = await stats_stub.Stats(admin_pb2.StatsRequest(), timeout=ADMIN_TIMEOUT_S)
    return Alive(calls=calls.total, flows=sum(worker.flows for worker in stats.workers))


async def calls_by_worker(stack: Stack) -> list[int]:
    """Return how many flows each relay worker has made. Raises grpc.aio.AioRpcError."""
    async with grpc.aio.insecure_channel(stack.relay_admin) as relay:
        stub = admin_pb2_grpc.RelayAdminStub(relay)  # type: ignore[no-untyped-call]
        stats = await stub.Stats(admin_pb2.StatsRequest(), timeout=ADMIN_TIMEOUT_S)
    return [worker.counters["flows_made"] for worker in stats.workers]


async def tasks_of_transceiver(target: Target) -> int:
    """Return how many asyncio tasks it has, as it says itself. Raises aiohttp.ClientError."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{target.url}/metrics", raise_for_status=True) as response,
    ):
        families = text_string_to_metric_families(await response.text())
        return int(next(f for f in families if f.name == TASKS).samples[0].value)


def median_usage(usages: Sequence[Mapping[str, Usage]]) -> dict[str, Usage]:
    """Return the median of each figure, by part; a part that is not in all of them is left out."""
    return {
        part: Usage(
            fds=median_low(usage[part].fds for usage in usages),
            threads=median_low(usage[part].threads for usage in usages),
            memory_bytes=median_low(usage[part].memory_bytes for usage in usages),
        )
        for part in usages[0]
        if all(part in usage for usage in usages)
    }


def growth(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, float]:
    """Return how much memory each part gained, in MiB; a part that is gone is left out."""
    return {
        name: round((after[name].memory_bytes - before[name].memory_bytes) / 2**20, 2)
        for name in before
        if name in after
    }
