"""`sequence`: many calls, one after another, and then nothing may be left of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import aiohttp

from launcher import Stack
from loadtest import sound
from loadtest.benchmark import Check, Limits, Progress, Result, Scenario
from loadtest.callers.dtls import Identity
from loadtest.callers.light_caller import LightCaller
from loadtest.callers.opus_packets import encode
from loadtest.errors import CallFailedError
from loadtest.percentiles import spread
from loadtest.residue import Alive, Usage, growth, pids_of_parts, still_alive, usage_of_parts
from loadtest.target import Target

CALL_TIMEOUT_S = 10.0
PACKETS_A_CALL = 3
MAX_WARM_UP_CALLS = 200
"""Calls before memory is measured first: allocators, caches and tables reach their size."""
FLOW_IDLE_S = 30
"""The least a relay allows: the scenario waits for its flows to expire."""
SETTLE_S = FLOW_IDLE_S + 30.0
"""How long sessions and flows may take to be gone after the last call."""
MAX_GROWTH_MIB = 8.0
MAX_FD_GROWTH = 2
"""Admin and Redis connections come and go; a leak of one a call is hundreds."""
MAX_THREAD_GROWTH = 2


@dataclass
class _Calls:
    """What the calls themselves gave."""

    result: Result = field(default_factory=Result)
    ok: int = 0
    setup_ms: list[float] = field(default_factory=list)


async def run(target: Target, limits: Limits, progress: Progress) -> Result:
    """Place the calls, then look for what they left behind (only in a stack of our own)."""
    calls = _Calls()
    caller = _Row(target, limits, progress, calls)
    warm_up = min(limits.calls // 5, MAX_WARM_UP_CALLS)
    progress.stage("warming up")
    await caller.place(warm_up)
    before = await _look(target.stack)
    progress.stage("calling")
    took_s = await caller.place(limits.calls - warm_up)
    result = calls.result
    result.figures = {
        "calls": limits.calls,
        "ok": calls.ok,
        "calls_per_s": round((limits.calls - warm_up) / took_s, 1) if took_s else 0.0,
        "setup_ms": spread(calls.setup_ms),
    }
    result.checks = [
        Check("every call ok", calls.ok == limits.calls, f"{calls.ok} of {limits.calls}")
    ]
    if target.stack is not None and before is not None:
        progress.stage("settling")
        await _settle(target.stack)
        await _inspect(target.stack, before, result)
    return result


class _Row:
    """Places calls one after another until the time of the run is over."""

    def __init__(self, target: Target, limits: Limits, progress: Progress, calls: _Calls) -> None:
        self._target = target
        self._progress = progress
        self._calls = calls
        self._ends_at = time.monotonic() + limits.seconds
        self._identity = Identity.make()
        self._packets = encode(sound.tone(0.02 * PACKETS_A_CALL, frequency_hz=300, peak=8000))
        self._packets = self._packets[:PACKETS_A_CALL]

    async def place(self, count: int) -> float:
        """Place `count` calls over one HTTP connection; return the seconds it took."""
        started_at = time.monotonic()
        async with aiohttp.ClientSession() as session:
            for _ in range(count):
                self._progress.call_done(ok=await self._place_one(session))
        return time.monotonic() - started_at

    async def _place_one(self, session: aiohttp.ClientSession) -> bool:
        left_s = self._ends_at - time.monotonic()
        caller = LightCaller(
            session, self._target, self._identity, self._packets, echoes=PACKETS_A_CALL
        )
        try:
            if left_s <= 0:
                raise CallFailedError("out_of_time")
            await caller.place(min(CALL_TIMEOUT_S, left_s))
        except CallFailedError as error:
            self._calls.result.failures[error.reason] += 1
            return False
        self._calls.ok += 1
        if caller.setup_ms is not None:
            self._calls.setup_ms.append(caller.setup_ms)
        return True


@dataclass(frozen=True)
class _Look:
    """The parts at one moment."""

    usage: dict[str, Usage]
    pids: dict[str, int]


async def _look(stack: Stack | None) -> _Look | None:
    """Look at the parts, after one admin call: the first one costs memory of its own."""
    if stack is None:
        return None
    await still_alive(stack)
    return _Look(usage_of_parts(stack), pids_of_parts(stack))


async def _settle(stack: Stack) -> None:
    """Wait until nothing is alive, or until it had time enough."""
    ends_at = time.monotonic() + SETTLE_S
    while await still_alive(stack) != Alive(0, 0) and time.monotonic() < ends_at:  # noqa: ASYNC110
        await asyncio.sleep(0.5)


async def _inspect(stack: Stack, before: _Look, result: Result) -> None:
    """Add what is left to the figures, and the checks that nothing is."""
    alive = await still_alive(stack)
    after = _Look(usage_of_parts(stack), pids_of_parts(stack))
    grown = growth(before.usage, after.usage)
    fds = _pairs(before, after, "fds")
    threads = _pairs(before, after, "threads")
    result.figures |= {
        "calls_left": alive.calls,
        "flows_left": alive.flows,
        "memory_growth_mib": grown,
        "memory_mib": {name: round(u.memory_bytes / 2**20, 1) for name, u in after.usage.items()},
        "fds": fds,
        "threads": threads,
    }
    worst_mib = max(grown.values(), default=0.0)
    result.checks += [
        Check("no call left", alive.calls == 0, str(alive.calls)),
        Check("no flow left", alive.flows == 0, str(alive.flows)),
        Check("no part died", before.pids == after.pids, ", ".join(after.pids)),
        Check("memory flat", worst_mib <= MAX_GROWTH_MIB, f"worst part +{worst_mib:g} MiB"),
        _not_grown("descriptors flat", fds, MAX_FD_GROWTH),
        _not_grown("threads flat", threads, MAX_THREAD_GROWTH),
    ]


def _pairs(before: _Look, after: _Look, name: str) -> dict[str, dict[str, int]]:
    return {
        part: {"before": getattr(usage, name), "after": getattr(after.usage[part], name)}
        for part, usage in before.usage.items()
        if part in after.usage
    }


def _not_grown(check: str, pairs: dict[str, dict[str, int]], bound: int) -> Check:
    worst = max((pair["after"] - pair["before"] for pair in pairs.values()), default=0)
    return Check(check, worst <= bound, f"worst part {worst:+d}")


SCENARIO = Scenario(
    name="sequence",
    summary="Light clients call one after another; no call, flow, thread or memory may be left.",
    run=run,
    defaults=Limits(calls=1000, concurrency=1, seconds=600),
    max_calls=100_000,
    variables={"TRUNKLINE_RELAY_FLOW_IDLE_S": str(FLOW_IDLE_S)},
)
