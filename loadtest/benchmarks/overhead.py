"""`overhead`: what our processes add to a frame, caller → relay → engine → backend and back.

Callers speak through the relay, a socket each, at `--calls` sessions: about half of what two cores
carry (`cpu` says what each part took of a core). The time is from the caller's send to the kernel's
receipt of the echo. Pacing is counted apart: packets of 10 ms, sent 20 ms apart, have echoes that
are due before they come, so nothing waits for its turn, and the path is clean, so the reorder
window holds nothing back. The same with packets of 20 ms is `paced_ms`; what that is more is the
wait for a slot of the pacing wheel and for the rhythm of the stream.
"""

from __future__ import annotations

import aiohttp

from launcher import Stack
from loadtest.benchmark import Check, Limits, Progress, Result, Scenario
from loadtest.media_bench.cpu import Busy
from loadtest.media_bench.crowd import Crowd
from loadtest.media_bench.guard import guarded
from loadtest.media_bench.links import UdpLink
from loadtest.media_bench.speech import short_speech, speech
from loadtest.media_bench.stack import ENGINE, QUIET, laid_out, not_ours
from loadtest.media_bench.trial import Trial
from loadtest.target import Target

MAX_P50_MS = 3.0
MAX_P99_MS = 8.0


async def run(target: Target, limits: Limits, progress: Progress) -> Result:
    """Measure without and with pacing."""
    stack = target.stack
    if stack is None:
        return not_ours()
    with laid_out(stack, ENGINE):
        progress.stage("unpaced")
        unpaced = await _measure(target, stack, limits, short_speech())
        progress.stage("paced")
        paced = await _measure(target, stack, limits, speech())
    return _result(unpaced, paced)


async def _measure(target: Target, stack: Stack, limits: Limits, payloads: list[bytes]) -> Trial:
    link = UdpLink()
    try:
        async with aiohttp.ClientSession() as session:
            crowd = Crowd(session, target, link, payloads, lambda: Busy.of(stack))
            await crowd.grow_to(limits.calls)
            trial = await crowd.measure(limits.calls, limits.seconds)
            await crowd.shrink_to(0)
            return trial
    finally:
        link.close()


def _result(unpaced: Trial, paced: Trial) -> Result:
    p50_ms, p99_ms = (unpaced.measured.transit_ms(percent) for percent in (50, 99))
    lost = unpaced.measured.lost + paced.measured.lost
    return Result(
        figures={
            "sessions": unpaced.callers,
            "overhead_ms_p50": p50_ms,
            "overhead_ms_p99": p99_ms,
            "paced_ms_p50": paced.measured.transit_ms(50),
            "paced_ms_p99": paced.measured.transit_ms(99),
            "lost": lost,
            "cpu": unpaced.percent(),
        },
        checks=[
            Check("p50", p50_ms <= MAX_P50_MS, f"{p50_ms:g} ms, bar: {MAX_P50_MS:g}"),
            Check("p99", p99_ms <= MAX_P99_MS, f"{p99_ms:g} ms, bar: {MAX_P99_MS:g}"),
            Check("nothing lost", not lost, f"{lost} frames"),
        ],
    )


SCENARIO = Scenario(
    name="overhead",
    summary="What relay, engine and model link add to a frame at half load.",
    run=guarded(run),
    defaults=Limits(calls=100, concurrency=100, seconds=8),
    max_calls=400,
    variables=QUIET,
)
