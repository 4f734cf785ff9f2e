"""`setup`: from POST to the first media both ways, idle and under load, beside stock aiortc.

A call is set up when its first echo is back: answer, ICE check, DTLS, SRTP keys, a frame to the
backend and one back, all through the relay. Idle calls come one after another. Loaded ones come at
50 a second, from a process of their own, while `LIVE` calls talk; how late those calls' frames are
meanwhile is `live_lateness_ms_p99`, with nobody new `quiet_lateness_ms_p99`, and when the 50 of
each second come at one moment `together_lateness_ms_p99`. The rate is raised until the p99 of the
set-up passes 250 ms, or a call fails: `calls_per_s_per_core`, for the one core the transceiver has.
The callers' own work shares the other core with relay and backend; `cpu_…` says how full that was.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

import aiohttp

from launcher import Stack
from loadtest.benchmark import Check, Limits, Progress, Result, Scenario
from loadtest.media_bench.arrivals import Arrivals, at_rate, one_after_another
from loadtest.media_bench.beside import ENGINE as AIORTC
from loadtest.media_bench.beside import aiortc_beside
from loadtest.media_bench.cpu import Busy
from loadtest.media_bench.crowd import Crowd
from loadtest.media_bench.guard import guarded
from loadtest.media_bench.search import CapacitySearch
from loadtest.media_bench.speech import speech
from loadtest.media_bench.stack import ENGINE, QUIET, laid_out, not_ours, trunk_link
from loadtest.media_bench.trial import MAX_LATENESS_MS, Trial
from loadtest.percentiles import percentile
from loadtest.target import Target

LIVE = 50
LOADED_CALLS_PER_S = 50
MAX_SETUP_MS = 250.0
IDLE_P50_MS = 30.0
MIN_CALLS_PER_S = 100
MAX_CALLS_PER_S = 400
AIORTC_CALLS = 20


@dataclass(frozen=True)
class Loaded:
    """What happened to `LIVE` calls, and to new ones meanwhile."""

    quiet: Trial
    """Nobody new."""
    steady: Burst
    """Calls at the rate of the bar, one by one."""
    together: Burst
    """As many, but those of each second at one moment."""
    best: Burst | None
    """The fastest that held."""


@dataclass(frozen=True)
class Burst:
    """Calls at one rate, and the live calls meanwhile."""

    calls_per_s: int
    arrivals: Arrivals
    live: Trial
    caller_percent: float

    @property
    def held(self) -> bool:
        """Every call came up, 99 of 100 within the bar."""
        seen = self.arrivals
        return not seen.failures and _ms(seen, 99) <= MAX_SETUP_MS


async def run(target: Target, limits: Limits, progress: Progress) -> Result:
    """Measure idle, loaded, the rate, and stock aiortc."""
    if target.stack is None:
        return not_ours()
    with laid_out(target.stack, ENGINE):
        progress.stage("idle")
        idle = await one_after_another(target, limits.calls)
        loaded = await _under_load(target, target.stack, limits, progress)
    progress.stage("aiortc")
    async with aiortc_beside("pcm16_48000") as beside:
        assert beside.stack is not None  # noqa: S101 - it was just started
        with laid_out(beside.stack, AIORTC):
            aiortc = await one_after_another(beside, min(limits.calls, AIORTC_CALLS))
    return _result(idle, loaded, aiortc)


async def _under_load(target: Target, stack: Stack, limits: Limits, progress: Progress) -> Loaded:
    best: Burst | None = None
    link = await trunk_link(stack)
    try:
        async with aiohttp.ClientSession() as session:
            crowd = Crowd(session, target, link, speech(), lambda: Busy.of(stack))
            await crowd.grow_to(LIVE)
            progress.stage("quiet")
            quiet = await crowd.measure(LIVE, limits.seconds)
            progress.stage("loaded")
            bar = LOADED_CALLS_PER_S
            steady = await _burst(crowd, target, bar, limits.seconds)
            together = await _burst(crowd, target, bar, limits.seconds, at_once=bar)
            search = CapacitySearch(bar, MAX_CALLS_PER_S, precision=0.1)
            while (rate := search.next()) is not None:
                progress.stage(f"{rate} calls/s")
                burst = await _burst(crowd, target, rate, limits.seconds)
                search.note(rate, held=burst.held)
                best = burst if burst.held and rate >= search.best else best
            await crowd.shrink_to(0)
    finally:
        link.close()
    return Loaded(quiet, steady, together, best)


async def _burst(
    crowd: Crowd[bytes], target: Target, rate: int, seconds: float, at_once: int = 1
) -> Burst:
    async with asyncio.TaskGroup() as group:
        arriving = group.create_task(at_rate(target, rate, seconds, at_once))
        talking = group.create_task(crowd.measure(len(crowd.lines), seconds + START_S))
    arrivals, live = arriving.result(), talking.result()
    burst = Burst(rate, arrivals, live, round(100 * arrivals.cpu_s / (seconds + START_S), 1))
    print(f"{rate} calls/s, {at_once} at once: {_described(burst)}", file=sys.stderr, flush=True)
    return burst


START_S = 1.0
"""What the process of the callers takes to start; the live calls talk that much longer."""


def _described(burst: Burst) -> dict[str, object]:
    return {
        "calls_per_s": burst.calls_per_s,
        "setup_ms_p50": _ms(burst.arrivals, 50),
        "setup_ms_p99": _ms(burst.arrivals, 99),
        "failed": burst.arrivals.failures.total(),
        "live_lateness_ms_p99": burst.live.measured.lateness_ms(99),
        "live_lost": burst.live.measured.lost,
        "cpu_new_callers": burst.caller_percent,
        **{f"cpu_{name}": used for name, used in burst.live.percent().items()},
    }


def _ms(seen: Arrivals, percent: float) -> float:
    return round(percentile(seen.setup_ms, percent), 2) if seen.setup_ms else float("inf")


def _result(idle: Arrivals, loaded: Loaded, aiortc: Arrivals) -> Result:
    result = Result()
    steady, together, best = loaded.steady, loaded.together, loaded.best
    for seen in (idle, steady.arrivals, together.arrivals, aiortc):
        result.failures.update(seen.failures)
    rate, p50_ms = best.calls_per_s if best else 0, _ms(idle, 50)
    result.figures = {
        "setup_ms_p50": p50_ms,
        "setup_ms_p99": _ms(idle, 99),
        "loaded_ms_p50": _ms(steady.arrivals, 50),
        "loaded_ms_p99": _ms(steady.arrivals, 99),
        "calls_per_s_per_core": rate,
        "live_lateness_ms_p99": steady.live.measured.lateness_ms(99),
        "quiet_lateness_ms_p99": loaded.quiet.measured.lateness_ms(99),
        "together_lateness_ms_p99": together.live.measured.lateness_ms(99),
        "aiortc_setup_ms_p50": _ms(aiortc, 50),
        "at_loaded": _described(steady),
        "at_together": _described(together),
        "at_best": _described(best) if best else None,
    }
    result.checks = [
        Check("idle p50", p50_ms <= IDLE_P50_MS, f"{p50_ms:g} ms, bar: {IDLE_P50_MS:g}"),
        Check("calls a second", rate >= MIN_CALLS_PER_S, f"{rate}, bar: {MIN_CALLS_PER_S}"),
        _undisturbed("live calls meanwhile", steady),
        _undisturbed("live calls, 50 new ones at once", together),
    ]
    return result


def _undisturbed(name: str, burst: Burst) -> Check:
    measured = burst.live.measured
    late_ms = measured.lateness_ms(99)
    passed = late_ms <= MAX_LATENESS_MS and not measured.lost
    return Check(name, passed, f"p99 {late_ms:g} ms late, {measured.lost} lost")


SCENARIO = Scenario(
    name="setup",
    summary="POST to first media both ways, idle and at 50 calls a second, beside stock aiortc.",
    run=guarded(run),
    defaults=Limits(calls=100, concurrency=1, seconds=4),
    max_calls=10_000,
    variables=QUIET,
)
