"""`soak`: calls come and go at half load for a long time, and nothing may pile up.

Round after round, a tenth of the calls hang up, as many new ones come, and all talk; the first
`STAYING` stay to the end, so that what grows within a call is seen too. After every round memory
(what was written), descriptors and threads of every part are read, always at the same number of
live calls. The first tenth of the rounds is warm-up: caches and heaps fill. Then the medians of the
second tenth and of the last are compared. At the end everyone hangs up, and no call, flow or task
may be left.
The short form for CI is `--seconds 120`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp

from launcher import Stack
from loadtest.benchmark import Check, Limits, Progress, Result, Scenario
from loadtest.media_bench.cpu import Busy
from loadtest.media_bench.crowd import Crowd
from loadtest.media_bench.guard import guarded
from loadtest.media_bench.links import UdpLink
from loadtest.media_bench.speech import speech
from loadtest.media_bench.stack import ENGINE, QUIET, laid_out, not_ours
from loadtest.percentiles import spread
from loadtest.residue import (
    Alive,
    Usage,
    growth,
    median_usage,
    pids_of_parts,
    still_alive,
    tasks_of_transceiver,
    usage_of_parts,
)
from loadtest.target import Target

ROUND_S = 3.0
TURNOVER = 10
"""One call in so many is replaced in every round."""
STAYING = 10
TENTHS = 10
FLOW_IDLE_S = 30
FLOW_CAPACITY = 2000
"""Far above what is live. A relay's table is made whole and a page of it is memory only once a flow
touched it: the usual 8 MiB a worker would take longer than the warm-up, and look like a leak."""
SETTLE_S = 2.0 * FLOW_IDLE_S
MAX_GROWTH_MIB = 4.0
MAX_FD_GROWTH = 8
MAX_THREAD_GROWTH = 4


@dataclass
class Tally:
    """What happened so far; one usage for each round."""

    placed: int = 0
    lost: int = 0
    lateness_p99_ms: list[float] = field(default_factory=list)
    usages: list[Mapping[str, Usage]] = field(default_factory=list)

    @property
    def tenths(self) -> list[dict[str, Usage]]:
        """Medians of each tenth of the rounds; fewer rounds than ten are a tenth each."""
        rounds = len(self.usages)
        count = min(TENTHS, rounds)
        bounds = [rounds * number // count for number in range(count + 1)] if count else []
        return [median_usage(self.usages[first:last]) for first, last in pairwise(bounds)]


@dataclass(frozen=True)
class Left:
    """What is there when all have hung up; tasks beyond those before the first call."""

    alive: Alive
    tasks: int


async def run(target: Target, limits: Limits, progress: Progress) -> Result:
    """Talk until the time is over, then look at what is left."""
    stack, tally, link = target.stack, Tally(), UdpLink()
    if stack is None:
        return not_ours()
    await still_alive(stack)  # the first admin call costs memory of its own
    pids, tasks = pids_of_parts(stack), await tasks_of_transceiver(target)
    try:
        with laid_out(stack, ENGINE):
            async with aiohttp.ClientSession() as session:
                crowd = Crowd(session, target, link, speech(), lambda: Busy.of(stack))
                await _talk(crowd, stack, limits, progress, tally)
                await crowd.shrink_to(0)
    finally:
        link.close()
    progress.stage("settling")
    left = Left(await _settled(stack), await tasks_of_transceiver(target) - tasks)
    return _result(tally, left, same_pids=pids == pids_of_parts(stack))


async def _talk(
    crowd: Crowd[socket.socket], stack: Stack, limits: Limits, progress: Progress, tally: Tally
) -> None:
    ends_at_s = time.monotonic() + limits.seconds
    while not tally.usages or time.monotonic() < ends_at_s:
        progress.stage(f"round {len(tally.usages) + 1}")
        await _turn_over(crowd, limits.calls, tally)
        trial = await crowd.measure(limits.calls, ROUND_S)
        tally.lost += trial.measured.lost
        tally.lateness_p99_ms.append(trial.measured.lateness_ms(99))
        tally.usages.append(usage_of_parts(stack))


async def _turn_over(crowd: Crowd[socket.socket], calls: int, tally: Tally) -> None:
    """Let the oldest go but those who stay, and as many come as are missing."""
    leaving = max(1, calls // TURNOVER)
    await crowd.hang_up(crowd.lines[STAYING : STAYING + leaving])
    tally.placed += calls - len(crowd.lines)
    await crowd.grow_to(calls)


async def _settled(stack: Stack) -> Alive:
    """Wait until nothing is alive, or until it had time enough."""
    ends_at_s = time.monotonic() + SETTLE_S
    alive = await still_alive(stack)
    while alive != Alive(0, 0) and time.monotonic() < ends_at_s:
        await asyncio.sleep(0.5)
        alive = await still_alive(stack)
    return alive


def _result(tally: Tally, left: Left, *, same_pids: bool) -> Result:
    tenths = tally.tenths
    before, after = tenths[min(1, len(tenths) - 1)], tenths[-1]
    grown = growth(before, after)
    fds, threads = (_change(before, after, name) for name in ("fds", "threads"))
    worst_mib = max(grown.values(), default=0.0)
    return Result(
        figures={
            "rounds": len(tally.usages),
            "calls_placed": tally.placed,
            "lost": tally.lost,
            "lateness_ms_p99": spread(tally.lateness_p99_ms),
            "memory_growth_mib": grown,
            "memory_mib_by_tenth": _memory_mib(tenths),
            "fd_growth": fds,
            "thread_growth": threads,
            "calls_left": left.alive.calls,
            "flows_left": left.alive.flows,
            "tasks_left": left.tasks,
        },
        checks=[
            Check("memory flat", worst_mib <= MAX_GROWTH_MIB, f"worst part {worst_mib:+g} MiB"),
            _flat("descriptors flat", fds, MAX_FD_GROWTH),
            _flat("threads flat", threads, MAX_THREAD_GROWTH),
            Check("no call left", not left.alive.calls, str(left.alive.calls)),
            Check("no flow left", not left.alive.flows, str(left.alive.flows)),
            Check("no task left", left.tasks <= 0, str(left.tasks)),
            Check("no part died", same_pids, ", ".join(after)),
            Check("nothing lost", not tally.lost, f"{tally.lost} frames"),
        ],
    )


def _memory_mib(tenths: Sequence[Mapping[str, Usage]]) -> dict[str, dict[str, float]]:
    return {
        part: {
            str(number): round(usage[part].memory_bytes / 2**20, 1)
            for number, usage in enumerate(tenths, 1)
            if part in usage
        }
        for part in tenths[0]
    }


def _change(before: Mapping[str, Usage], after: Mapping[str, Usage], name: str) -> dict[str, int]:
    return {
        part: getattr(usage, name) - getattr(before[part], name)
        for part, usage in after.items()
        if part in before
    }


def _flat(check: str, grown: Mapping[str, int], bound: int) -> Check:
    worst = max(grown.values(), default=0)
    return Check(check, worst <= bound, f"worst part {worst:+d}")


SCENARIO = Scenario(
    name="soak",
    summary="Calls come and go at half load; no memory, call, descriptor or thread piles up.",
    run=guarded(run),
    defaults=Limits(calls=150, concurrency=150, seconds=1800),
    max_calls=400,
    variables={
        **QUIET,
        "TRUNKLINE_RELAY_FLOW_IDLE_S": str(FLOW_IDLE_S),
        "TRUNKLINE_RELAY_FLOW_CAPACITY": str(FLOW_CAPACITY),
    },
)
