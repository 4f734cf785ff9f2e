"""The faults: each is done to a stand, and healed again before the next one."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio

from launcher.keeper import Keeper
from loadtest.residue import family
from loadtest.scenario_runs.faults import worker_pid
from loadtest.stand import Shape, Stand
from loadtest.survive import fleet

MOVE_TIMEOUT_S = 5.0
HANG_S = 5.0
AWAY_S = 5.0
HEAL_TIMEOUT_S = 90.0
POLL_S = 0.02


@dataclass
class Blow:
    """What was done: when it began, to which calls, and when the past could speak again.

    `stayed` are calls that were to move and did not.
    """

    began_s: float
    calls: frozenset[str]
    wakes_s: float | None = None
    stayed: frozenset[str] = field(default_factory=frozenset)


SHAPE = Shape(
    transceivers=2,
    transceiver_processes=fleet.PROCESSES,
    backends=2,
    backend="loadtest.peers.survivor",
    variables={"TRUNKLINE_TRANSCEIVER_DRAIN_S": "30", "TRUNKLINE_LOG_LEVEL": "info"},
)
THREE = SHAPE.model_copy(update={"transceivers": 3})

Strike = Callable[[Stand], Awaitable[Blow]]


@dataclass(frozen=True)
class Fault:
    """A kind of fault; calls are watched for `watch_s` from its beginning.

    `strike` returns as soon as what it does is done; `heal` when the fleet is whole again.
    """

    name: str
    what: str
    strike: Strike
    heal: Callable[[Stand], Awaitable[None]]
    watch_s: float
    bar_ms: float
    shape: Shape = SHAPE
    crowd: int = 1  # so many times the callers of the others
    rarer: int = 1  # done only each so many repeats: it takes long


async def move(stand: Stand) -> Blow:
    """Ask the transceiver with most calls to give them away, all its processes at once."""
    part = (await fleet.busiest(stand)).part
    calls = stayed = await fleet.calls_of_part(stand, part)
    began_s = time.time()
    await asyncio.gather(
        *(fleet.drain(stand, part, one.index, undo=False) for one in fleet.processes(stand, part))
    )
    while stayed and time.time() < began_s + MOVE_TIMEOUT_S:
        await asyncio.sleep(POLL_S)
        stayed = calls & await fleet.calls_of_part(stand, part)
    return Blow(began_s, calls, stayed=stayed)


async def undrain(stand: Stand) -> None:
    """Let every process take calls again."""
    for part in stand.names("transceiver"):
        for process in fleet.processes(stand, part):
            with suppress(grpc.aio.AioRpcError):
                await fleet.drain(stand, part, process.index, undo=True)


async def kill(stand: Stand) -> Blow:
    """Kill the process with most calls; its supervisor lives."""
    process = await fleet.busiest(stand)
    calls = frozenset(await fleet.calls_of(stand, process.part, process.index))
    began_s = time.time()
    os.kill(process.pid, signal.SIGKILL)
    return Blow(began_s, calls)


async def hang(stand: Stand) -> Blow:
    """Stop the process with most calls for a while, then let it go on."""
    process = await fleet.busiest(stand)
    calls = frozenset(await fleet.calls_of(stand, process.part, process.index))
    began_s = time.time()
    _signal([process.pid], signal.SIGSTOP)
    try:
        await asyncio.sleep(HANG_S)
    finally:
        _signal([process.pid], signal.SIGCONT)
    return Blow(began_s, calls, wakes_s=time.time())


async def lose_host(stand: Stand) -> Blow:
    """Silence a whole transceiver, supervisor and all, as a host that lost its power.

    Its sockets stay and say nothing: a kernel that closed them would tell everybody.
    """
    part = (await fleet.busiest(stand)).part
    calls = await fleet.calls_of_part(stand, part)
    began_s = time.time()
    _signal(family(stand.keepers[part].pid), signal.SIGSTOP)
    return Blow(began_s, calls)


async def bury_host(stand: Stand) -> None:
    """End what was silenced; it is started again, as by a cluster."""
    for part in stand.names("transceiver"):
        if _is_stopped(stand.keepers[part].pid):
            _signal(family(stand.keepers[part].pid), signal.SIGKILL)
    await complete(stand)


async def kill_backend(stand: Stand) -> Blow:
    """Kill the backend with most calls."""
    found = [(await fleet.calls_of_backend(stand, name), name) for name in stand.names("backend")]
    calls, name = max(found, key=lambda each: len(each[0]))
    began_s = time.time()
    await stand.kill(name, stay_down=False)
    return Blow(began_s, frozenset(calls))


async def lose_redis(stand: Stand) -> Blow:
    """Take Redis away, and move calls meanwhile: neither needs it."""
    began_s = time.time()
    await stand.kill("redis-1", stay_down=True)
    moved = await move(stand)
    await asyncio.sleep(began_s + AWAY_S - time.time())
    return Blow(began_s, moved.calls, stayed=moved.stayed)


async def bring_redis(stand: Stand) -> None:
    """Redis is there again, and empty."""
    await stand.start("redis-1")
    await undrain(stand)
    await complete(stand)


async def upgrade(stand: Stand) -> Blow:
    """End every transceiver in turn, as a rolling upgrade does, and start it again."""
    began_s = time.time()
    calls: set[str] = set()
    for part in stand.names("transceiver"):
        calls |= await fleet.calls_of_part(stand, part)
        await _replaced(stand.keepers[part])
        await complete(stand)
    return Blow(began_s, frozenset(calls))


async def _replaced(keeper: Keeper) -> None:
    """Ask a part to end, and return when its successor is there: its keeper starts one."""
    before = keeper.pid
    _signal([before], signal.SIGTERM)
    async with asyncio.timeout(HEAL_TIMEOUT_S):
        while not keeper.running or keeper.pid == before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)


async def kill_relay_worker(stand: Stand) -> Blow:
    """Kill the process that moves every packet; a spare takes its place."""
    found = [await fleet.calls_of_part(stand, part) for part in stand.names("transceiver")]
    pid = await worker_pid(stand, "relay-1")
    began_s = time.time()
    _signal([pid], signal.SIGKILL)
    return Blow(began_s, frozenset().union(*found))


async def complete(stand: Stand) -> None:
    """Return when every process of every transceiver and every backend answers."""
    async with asyncio.timeout(HEAL_TIMEOUT_S):
        while not await _is_complete(stand):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)


async def _is_complete(stand: Stand) -> bool:
    for part in stand.names("transceiver"):
        there = list(fleet.processes(stand, part))
        if len(there) < fleet.PROCESSES or not await fleet.all_answer(stand, there):
            return False
    ready = [await stand.keepers[name].part.ready() for name in stand.names("backend")]
    return all(ready) and all(stand.keepers[name].running for name in stand.names("backend"))


@asynccontextmanager
async def whole(stand: Stand, fault: Fault) -> AsyncIterator[None]:
    """Heal after the block, whatever came of it. Raises TimeoutError when it does not heal."""
    try:
        yield
    finally:
        await fault.heal(stand)


def _signal(pids: Iterable[int], what: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # a supervisor replaces a process that hangs
            os.kill(pid, what)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("move", "a transceiver gives its calls away", move, undrain, 3.0, 60),
        Fault("kill", "kill -9 of a process whose supervisor lives", kill, complete, 5.0, 400),
        Fault("hang", "SIGSTOP for 5 s, then SIGCONT", hang, complete, 8.0, 1000),
        Fault("host", "a whole transceiver falls silent", lose_host, bury_host, 5.0, 1000),
        Fault("backend_kill", "kill -9 of a backend", kill_backend, complete, 5.0, 1500),
        Fault("redis_away", "Redis goes away, and calls move", lose_redis, bring_redis, 7.0, 60),
        Fault(
            *("upgrade", "a rolling upgrade of three transceivers", upgrade, complete, 5.0, 60),
            *(THREE, 5, 20),
        ),
        Fault("relay_kill", "kill -9 of a relay worker", kill_relay_worker, complete, 3.0, 400),
    )
}
