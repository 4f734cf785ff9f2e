"""`call`: several real calls send speech at once, and the same speech must come back."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from loadtest import sound
from loadtest.benchmark import Check, Limits, Progress, Result, Scenario
from loadtest.callers.aiortc_caller import FRAME_S, AiortcCaller, CallRecord, utterance
from loadtest.compare import Comparison, compare
from loadtest.percentiles import spread
from loadtest.residue import calls_by_worker
from loadtest.sound import SAMPLE_RATE_HZ, Samples
from loadtest.target import Target

SETUP_PATIENCE_S = 15.0
"""On top of the length of the speech, until a call counts as failed."""


async def run(target: Target, limits: Limits, progress: Progress) -> Result:
    """Place the calls, compare what came back once all are over, and sum up."""
    speech = sound.read_wav(sound.SPEECH)
    progress.stage("calling")
    records = await _place_all(target, limits, progress, utterance(speech))
    progress.stage("comparing")
    heard = [await asyncio.to_thread(_judge, record, speech) for record in records]
    result = _result(limits.calls, records, [comparison for comparison in heard if comparison])
    if target.stack is not None:
        result.figures["calls_by_relay_worker"] = await calls_by_worker(target.stack)
    return result


async def _place_all(
    target: Target, limits: Limits, progress: Progress, speech: Samples
) -> list[CallRecord]:
    """Place all calls, no more than `concurrency` at once, none past the end of the run."""
    turns = asyncio.Semaphore(limits.concurrency)
    ends_at = time.monotonic() + limits.seconds
    call_s = SETUP_PATIENCE_S + len(speech) / SAMPLE_RATE_HZ

    async def place(session: aiohttp.ClientSession, index: int) -> CallRecord:
        async with turns:
            timeout_s = min(call_s, ends_at - time.monotonic())
            phase_s = FRAME_S * (index % limits.concurrency) / limits.concurrency
            record = await AiortcCaller(session, target, speech, timeout_s, phase_s).place()
            progress.call_done(ok=record.failure is None)
            return record

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await asyncio.gather(*(place(session, index) for index in range(limits.calls)))


def _judge(record: CallRecord, speech: Samples) -> Comparison | None:
    """Compare what a call heard with the speech; note the first fault as its failure."""
    if record.failure is not None:
        return None
    comparison = compare(speech, record.recording.sound())
    record.failure = next(iter(comparison.faults()), None)
    return comparison


def _result(calls: int, records: list[CallRecord], heard: list[Comparison]) -> Result:
    result = Result()
    result.failures.update(record.failure for record in records if record.failure)
    ok = calls - result.failures.total()
    lost = sum(record.lost for record in records)
    result.figures = {
        "calls": calls,
        "ok": ok,
        "setup_ms": _spread_of(records, "setup_ms"),
        "first_audio_ms": _spread_of(records, "first_audio_ms"),
        "rtt_ms": _spread_of(records, "rtt_ms"),
        "message_rtt_ms": _spread_of(records, "message_rtt_ms"),
        "lost": lost,
        "min_correlation": round(min((c.correlation for c in heard), default=0.0), 3),
        "max_level_db": round(max((abs(c.level_db) for c in heard), default=0.0), 2),
        "max_shift_ms": round(max((c.shift_ms for c in heard), default=0.0), 1),
        "max_gap_ms": max((c.gap_ms for c in heard), default=0.0),
    }
    result.checks = [
        Check("every call ok", ok == calls, f"{ok} of {calls}"),
        Check("nothing lost", lost == 0, f"{lost} packets"),
    ]
    return result


def _spread_of(records: list[CallRecord], name: str) -> object:
    values = [getattr(record, name) for record in records]
    return spread([value for value in values if value is not None])


SCENARIO = Scenario(
    name="call",
    summary="Stock aiortc clients call at once; the speech they send must come back.",
    run=run,
    defaults=Limits(calls=10, concurrency=10, seconds=60),
    max_calls=200,
)
