"""`soak`: calls come and go at half load for as long as asked; nothing may pile up.

Round after round, a tenth of the calls hang up, as many new ones come, and all talk. Memory,
descriptors and threads of every part are compared between two moments with the same number of live
calls: after the first tenth of the time, when caches are full, and at the end. Then everyone hangs
up, and no call or flow may be left.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from launcher import Stack
from loadtest.media_bench.cpu import Busy
from loadtest.media_bench.crowd import Crowd
from loadtest.media_bench.guard import guarded
from loadtest.media_bench.links import UdpLink
from loadtest.media_bench.speech import speech
from loadtest.media_bench.stack import ENGINE, QUIET, laid_out, not_ours
from loadtest.percentiles import spread
from loadtest.residue import Alive, Usage, growth, pids_of_parts, still_alive, usage_of_parts
from loadtest.scenario import Check, Limits, Progress, Result, Scenario
from loadtest.target import Target

ROUND_S = 3.0
TURNOVER = 10
"""One call in so many is replaced in every round."""
WARM_UP_SHARE = 0.1
FLOW_IDLE_S = 30
SETTLE_S = 2.0 * FLOW_IDLE_S
MAX_GROWTH_MIB = 4.0
MAX_FD_GROWTH = 8
MAX_THREAD_GROWTH = 4


@dataclass
class Tally:
    """What happened so far."""

    rounds: int = 0
    placed: int = 0
    lost: int = 0
    lateness_p99_ms: list[float] = field(default_factory=list)
    before: Mapping[str, Usage] = field(default_factory=dict)


async def run(target: Target, limits: Limits, progress: Progress) -> Result:
    """Talk until the time is over, then look at what is left."""
    stack, tally, link = target.stack, Tally(), UdpLink()
    if stack is None:
        return not_ours()
    pids = pids_of_parts(stack)
    try:
        with laid_out(stack, ENGINE):
            async with aiohttp.ClientSession() as session:
                crowd = Crowd(session, target, link, speech(), lambda: Busy.of(stack))
                await _talk(crowd, stack, limits, progress, tally)
                after = usage_of_parts(stack)
                await crowd.shrink_to(0)
    finally:
        link.close()
    progress.stage("settling")
    alive = await _settled(stack)
    return _result(tally, after, alive, same_pids=pids == pids_of_parts(stack))


async def _talk(
    crowd: Crowd[socket.socket], stack: Stack, limits: Limits, progress: Progress, tally: Tally
) -> None:
    ends_at_s = time.monotonic() + limits.seconds
    warm_at_s = time.monotonic() + limits.seconds * WARM_UP_SHARE
    leaving = max(1, limits.calls // TURNOVER)
    while not tally.rounds or time.monotonic() < ends_at_s:
        progress.stage(f"round {tally.rounds + 1}")
        await _turn_over(crowd, limits.calls, leaving, tally)
        trial = await crowd.measure(limits.calls, ROUND_S)
        tally.rounds += 1
        tally.lost += trial.measured.lost
        tally.lateness_p99_ms.append(trial.measured.lateness_ms(99))
        if not tally.before and time.monotonic() >= warm_at_s:
            await still_alive(stack)  # the first admin call costs memory of its own
            tally.before = usage_of_parts(stack)


async def _turn_over(crowd: Crowd[socket.socket], calls: int, leaving: int, tally: Tally) -> None:
    before = len(crowd.lines)
    if before:
        await crowd.shrink_to(before - leaving)
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


def _result(tally: Tally, after: Mapping[str, Usage], alive: Alive, *, same_pids: bool) -> Result:
    before = tally.before or after
    grown = growth(before, after)
    fds, threads = (_change(before, after, name) for name in ("fds", "threads"))
    worst_mib = max(grown.values(), default=0.0)
    return Result(
        figures={
            "rounds": tally.rounds,
            "calls_placed": tally.placed,
            "lost": tally.lost,
            "lateness_ms_p99": spread(tally.lateness_p99_ms),
            "memory_growth_mib": grown,
            "memory_mib": {name: round(u.memory_bytes / 2**20, 1) for name, u in after.items()},
            "fd_growth": fds,
            "thread_growth": threads,
            "calls_left": alive.calls,
            "flows_left": alive.flows,
        },
        checks=[
            Check("memory flat", worst_mib <= MAX_GROWTH_MIB, f"worst part {worst_mib:+g} MiB"),
            _flat("descriptors flat", fds, MAX_FD_GROWTH),
            _flat("threads flat", threads, MAX_THREAD_GROWTH),
            Check("no call left", not alive.calls, str(alive.calls)),
            Check("no flow left", not alive.flows, str(alive.flows)),
            Check("no part died", same_pids, ", ".join(after)),
            Check("nothing lost", not tally.lost, f"{tally.lost} frames"),
        ],
    )


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
    defaults=Limits(calls=150, concurrency=150, seconds=120),
    max_calls=400,
    variables={**QUIET, "TRUNKLINE_RELAY_FLOW_IDLE_S": str(FLOW_IDLE_S)},
)
