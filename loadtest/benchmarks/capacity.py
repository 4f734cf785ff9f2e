"""`capacity`: sessions on one core, the media engine beside stock aiortc, for the same callers.

What is measured. Callers do a real DTLS handshake each, then send speech that was encoded and
protected ahead of time, 50 packets a second, every caller at a random phase. A model backend
echoes over gRPC. The engine has a core to itself; callers, backend and Redis share the other. The
number of sessions is raised until the p99 lateness of all echoed frames (defined in
`media_bench.lateness`) passes 10 ms or a frame is lost; a load that fails is tried twice. Each of
the four searches is over after `WITHIN_S`, with what is known then: `at_best` held, `at_failure`
is the smallest load that did not.

Ours is spoken to over the trunk, as by a relay, so the generator costs little. Stock aiortc
(`loadtest.peers.aiortc_echo`) has a UDP socket for each caller. It always decodes and encodes, so
its backend hears 48 kHz PCM where ours passes Opus through: that is the difference to be shown.
`pcm_` is the same with a backend that wants 16 kHz PCM of both.
"""

from __future__ import annotations

import aiohttp

from launcher import Stack, StackSettings
from loadtest.benchmark import Check, Limits, Progress, Result, Scenario
from loadtest.media_bench import beside
from loadtest.media_bench.cpu import Busy
from loadtest.media_bench.crowd import Crowd
from loadtest.media_bench.limits import Capacity, Climb
from loadtest.media_bench.links import UdpLink
from loadtest.media_bench.search import CapacitySearch
from loadtest.media_bench.speech import speech
from loadtest.media_bench.stack import ENGINE, QUIET, laid_out, not_ours, trunk_link
from loadtest.media_bench.trial import MAX_STRANGERS
from loadtest.target import Target

WIDEBAND = "pcm16_16000"
MIN_RATIO = 20.0
MIN_PCM_RATIO = 5.0
FIRST_LOAD = 350
GROWTH = 1.4
"""Of our loads: the answer is 350 on a slow core and some 1,000 on a fast one."""
FIRST_PCM_LOAD = 64
FIRST_AIORTC_LOAD = 8
WITHIN_S = 80.0
"""For each of the four searches: all of them end within six minutes, and most are exact to 5 %."""


async def run(target: Target, limits: Limits, progress: Progress) -> Result:
    """Measure Opus, then 16 kHz PCM."""
    if target.stack is None:
        return not_ours()
    result = Result()
    ours = await _ours(target.stack, limits, progress, "ours", FIRST_LOAD)
    theirs = await _aiortc(limits, progress, "pcm16_48000", "aiortc")
    _report(result, "", ours, theirs, MIN_RATIO)
    async with Stack(StackSettings({**QUIET, beside.ACCEPTS: WIDEBAND})) as stack:
        ours = await _ours(stack, limits, progress, "ours pcm", FIRST_PCM_LOAD)
    theirs = await _aiortc(limits, progress, WIDEBAND, "aiortc pcm")
    _report(result, "pcm_", ours, theirs, MIN_PCM_RATIO)
    return result


async def _ours(
    stack: Stack, limits: Limits, progress: Progress, name: str, first: int
) -> Capacity:
    await stack.stop_part("relay")
    target = Target(stack.console_url, stack.api_key, stack)
    link = await trunk_link(stack)
    try:
        with laid_out(stack, ENGINE):
            async with aiohttp.ClientSession() as session:
                crowd = Crowd(session, target, link, speech(), lambda: Busy.of(stack))
                climb = Climb(crowd, limits.seconds, progress, name, ENGINE, within_s=WITHIN_S)
                return await climb.run(CapacitySearch(first, limits.calls, growth=GROWTH))
    finally:
        link.close()


async def _aiortc(limits: Limits, progress: Progress, audio_format: str, name: str) -> Capacity:
    async with beside.aiortc_beside(audio_format) as target:
        stack, link = target.stack, UdpLink()
        assert stack is not None  # noqa: S101 - it was just started
        try:
            with laid_out(stack, beside.ENGINE):
                async with aiohttp.ClientSession() as session:
                    crowd = Crowd(
                        *(session, target, link, speech()), lambda: Busy.of(stack), beside.HELD
                    )
                    climb = Climb(
                        *(crowd, limits.seconds, progress, name, beside.ENGINE), within_s=WITHIN_S
                    )
                    search = CapacitySearch(FIRST_AIORTC_LOAD, limits.calls)
                    return await climb.run(search)
        finally:
            link.close()


def _report(
    result: Result, prefix: str, ours: Capacity, theirs: Capacity, min_ratio: float
) -> None:
    """Add the figures of one pair, and its bar."""
    ratio = round(ours.sessions / theirs.sessions, 1) if theirs.sessions else 0.0
    figures: dict[str, object] = {
        "sessions": ours.sessions,
        "aiortc_sessions": theirs.sessions,
        "ratio": ratio,
        "cpu_ms_per_session_s": _cost(ours, ENGINE),
        "aiortc_cpu_ms_per_session_s": _cost(theirs, beside.ENGINE),
        "limit": ours.failed.limit(ENGINE) if ours.failed else "calls",
        "aiortc_limit": theirs.failed.limit(beside.ENGINE) if theirs.failed else "calls",
        "at_best": ours.best.described(ENGINE) if ours.best else None,
        "at_failure": ours.failed.described(ENGINE) if ours.failed else None,
        "aiortc_at_best": theirs.best.described(beside.ENGINE) if theirs.best else None,
        "aiortc_at_failure": theirs.failed.described(beside.ENGINE) if theirs.failed else None,
    }
    result.figures |= {prefix + name: value for name, value in figures.items()}
    strangers = max(ours.strangers, theirs.strangers)
    result.checks += [
        Check(f"{prefix}ratio", ratio >= min_ratio, f"{ratio:g}, bar: at least {min_ratio:g}"),
        Check(
            f"{prefix}machine to ourselves",
            strangers <= MAX_STRANGERS,
            f"others took {strangers:g} % of a core, at most {MAX_STRANGERS:g}",
        ),
    ]


def _cost(capacity: Capacity, engine: str) -> float | None:
    return capacity.best.cpu_ms_per_session_s(engine) if capacity.best else None


SCENARIO = Scenario(
    name="capacity",
    summary="Sessions on one core before frames come late, beside stock aiortc.",
    run=run,
    defaults=Limits(calls=3000, concurrency=3000, seconds=4),
    max_calls=20_000,
    variables=QUIET,
)
