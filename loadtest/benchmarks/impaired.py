"""`impaired`: what a backend hears of callers with bad networks, beside stock aiortc.

Each caller speaks through a network of its own (`media_bench.impairment`, seeded), over the trunk
to ours and over UDP to aiortc, with the same losses for both. The backend only listens, to 48 kHz
PCM of both. `stoi` is how well what it heard can be understood (0–1), `heard` the share of frames
that came, concealed ones included. `delay_ms` is the mean time from a frame's turn at the caller to
the backend, whatever the network added included. Speech is Opus with in-band FEC, as browsers send
it.

In `one_lost` a single packet is missing: `added_ms` is how much longer frames took from one second
after it on than before it. Only what callers said is timed: what stands in for frames of a caller
who has fallen silent comes when it comes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import aiohttp
import numpy as np

from launcher import Stack, StackSettings
from loadtest import sound
from loadtest.benchmark import Check, Limits, Progress, Result, Scenario
from loadtest.callers.timed_socket import Key
from loadtest.media_bench.beside import aiortc_beside
from loadtest.media_bench.crowd import Crowd, Line
from loadtest.media_bench.generator import ROUND_S, Traffic
from loadtest.media_bench.guard import guarded
from loadtest.media_bench.impairment import Impairment, Network
from loadtest.media_bench.links import Link, UdpLink
from loadtest.media_bench.quality import Measure, intelligibility, stoi_measure
from loadtest.media_bench.recorder import Heard, Recorder, recorder
from loadtest.media_bench.speech import speech_with_fec
from loadtest.media_bench.stack import QUIET, not_ours, trunk_link
from loadtest.sound import FRAME_SAMPLES, Samples
from loadtest.target import Target

AT_ONCE = 4
"""Callers at a time: stock aiortc must not be short of CPU while its jitter buffer is judged."""
DROPPED = 100
NEVER_BELOW = 0.01
"""STOI differences below this are not heard."""
MIN_SHARE_OF_CLEAN = 0.9
MAX_DELAY_MS = 60.0
MAX_ADDED_MS = 2.0

CONDITIONS = (
    Impairment("clean"),
    Impairment("one_lost", drops=frozenset({DROPPED})),
    Impairment("loss_1", loss=0.01),
    Impairment("loss_3", loss=0.03),
    Impairment("loss_10", loss=0.10),
    Impairment("loss_20", loss=0.20),
    Impairment("burst_1", loss=0.01, burst=3),
    Impairment("burst_3", loss=0.03, burst=3),
    Impairment("burst_10", loss=0.10, burst=3),
    Impairment("burst_20", loss=0.20, burst=3),
    Impairment("jitter_30", jitter_s=0.030),
    Impairment("jitter_60", jitter_s=0.060),
    Impairment("reorder_5", reorder=0.05),
    Impairment("duplicate_5", duplicate=0.05),
)


@dataclass(frozen=True)
class Score:
    """One condition as one server took it."""

    stoi: float
    heard: float
    delay_ms: float
    added_ms: float

    def as_figure(self) -> dict[str, object]:
        """Return the numbers for the table."""
        return asdict(self)


async def run(target: Target, limits: Limits, progress: Progress) -> Result:
    """Run all conditions for both servers."""
    if target.stack is None:
        return not_ours()
    measure = stoi_measure()
    async with recorder() as listening:
        progress.stage("ours")
        backend = {"TRUNKLINE_TRANSCEIVER_BACKEND": f"127.0.0.1:{listening.port}"}
        async with Stack(StackSettings({**QUIET, **backend})) as stack:
            link = await trunk_link(stack)
            place = Target(stack.console_url, stack.api_key, stack)
            ours = await _all(place, link, listening, limits, measure)
        progress.stage("aiortc")
        async with aiortc_beside("pcm16_48000", listening.port) as place:
            theirs = await _all(place, UdpLink(), listening, limits, measure)
    return _result(ours, theirs)


async def _all(
    target: Target, link: Link[Key], listening: Recorder, limits: Limits, measure: Measure
) -> dict[str, Score]:
    """Run the conditions, a few callers at a time; a score by name."""
    scores: dict[str, Score] = {}
    try:
        async with aiohttp.ClientSession() as session:
            for start in range(0, len(CONDITIONS), AT_ONCE):
                conditions = CONDITIONS[start : start + AT_ONCE]
                crowd = Crowd(session, target, link, speech_with_fec())
                await crowd.grow_to(len(conditions))
                networks = [Network(each, seed=20) for each in conditions]
                traffic = await crowd.speak(limits.seconds, networks)
                for line, condition in zip(crowd.lines, conditions, strict=True):
                    heard = listening.calls.get(_call_id(line), Heard())
                    scores[condition.name] = _score(
                        heard, line.slot, line.voice.sent, traffic, measure
                    )
                    print(f"{condition.name}: {scores[condition.name]}", file=sys.stderr)
                await crowd.shrink_to(0)
    finally:
        link.close()
    return scores


def _call_id(line: Line[Key]) -> str:
    return line.answer.call_url.rstrip("/").rpartition("/")[2]


def _score(heard: Heard, slot: int, frames: int, traffic: Traffic[Key], measure: Measure) -> Score:
    spoken = _spoken(frames)
    delay_s = {
        rtp_time // FRAME_SAMPLES: arrived_s - traffic.scheduled_s[rtp_time // FRAME_SAMPLES, slot]
        for rtp_time, arrived_s in heard.arrived_s.items()
        if rtp_time // FRAME_SAMPLES < frames
    }
    second = round(1 / ROUND_S)
    before = [delay for number, delay in delay_s.items() if DROPPED - second <= number < DROPPED]
    after = [delay for number, delay in delay_s.items() if number > DROPPED + second]
    return Score(
        stoi=intelligibility(measure, spoken, heard.recording.sound()),
        heard=round(len(delay_s) / frames, 3),
        delay_ms=_mean_ms(list(delay_s.values())),
        added_ms=round(_mean_ms(after) - _mean_ms(before), 2),
    )


def _spoken(frames: int) -> Samples:
    """The speech as it was said, over and over."""
    speech = sound.read_wav(sound.SPEECH)
    whole = speech[: len(speech) // FRAME_SAMPLES * FRAME_SAMPLES]
    times = frames * FRAME_SAMPLES // len(whole) + 1
    return np.tile(whole, times)[: frames * FRAME_SAMPLES]


def _mean_ms(delays_s: Sequence[float]) -> float:
    return round(1000 * float(np.mean(delays_s)), 2) if delays_s else float("inf")


def _result(ours: dict[str, Score], theirs: dict[str, Score]) -> Result:
    below = [name for name, score in ours.items() if score.stoi < theirs[name].stoi - NEVER_BELOW]
    share = ours["loss_10"].stoi / (ours["clean"].stoi or 1.0)
    added_ms, delay_ms = ours["one_lost"].added_ms, ours["jitter_30"].delay_ms
    return Result(
        figures={
            **{name: score.as_figure() for name, score in ours.items()},
            **{f"aiortc_{name}": score.as_figure() for name, score in theirs.items()},
        },
        checks=[
            Check("never below aiortc", not below, ", ".join(below) or "none is"),
            Check(
                "10 % loss with FEC",
                share >= MIN_SHARE_OF_CLEAN,
                f"{share:.3f} of the clean score, bar: {MIN_SHARE_OF_CLEAN:g}",
            ),
            Check("one lost packet", added_ms <= MAX_ADDED_MS, f"{added_ms:+g} ms after 1 s"),
            Check(
                "delay at 30 ms jitter",
                delay_ms <= MAX_DELAY_MS,
                f"mean {delay_ms:g} ms, bar: {MAX_DELAY_MS:g}",
            ),
        ],
    )


SCENARIO = Scenario(
    name="impaired",
    summary="What a backend hears through loss, jitter and reordering, beside stock aiortc.",
    run=guarded(run),
    defaults=Limits(calls=len(CONDITIONS), concurrency=AT_ONCE, seconds=12),
    max_calls=len(CONDITIONS),
    variables=QUIET,
)
