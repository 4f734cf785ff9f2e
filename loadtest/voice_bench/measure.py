"""The measurements of conversations, and their bars."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from loadtest.benchmark import Check, Result
from loadtest.percentiles import percentile
from loadtest.target import Target
from loadtest.voice_bench import sequential
from loadtest.voice_bench.conversation import (
    Interruption,
    TurnHeard,
    conversation,
    interrupt,
    take_turn,
)
from loadtest.voice_bench.script import (
    INTERRUPTION,
    QUESTIONS,
    WITH_A_PAUSE,
    Speaker,
    Utterance,
)
from loadtest.voice_bench.wer import errors, words

VOICE_MS = 600.0
SEQUENTIAL_SHARE = 0.5
UNEXPLAINED_MS = 20.0
ADDED_P50_MS, ADDED_P99_MS = 20.0, 40.0
STOP_P50_MS, STOP_P99_MS, CUT_MS = 150.0, 250.0, 60.0
FALSE_ENDS = 0.1
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.4, 0.7
TURNS_A_CALL = 10
SEQUENTIAL_TURNS = 8

SHORT: dict[str, Any] = {"max_output_tokens": 16}  # so that twenty turns take minutes, not ten
LONG: dict[str, Any] = {"max_output_tokens": 80}


async def voice(target: Target, turns: int, callers: int) -> Result:
    """Real models, questions without pauses."""
    speaker = Speaker()
    asked = [speaker.say(QUESTIONS[n % len(QUESTIONS)]) for n in range(turns)]
    heard = await talk(target, asked, callers)
    one_by_one = await sequential.run(asked[:SEQUENTIAL_TURNS])
    return _voice_result(heard, one_by_one)


async def added(target: Target, turns: int, callers: int) -> Result:
    """Models that take no time, behind HTTP: what is left is ours.

    From the sending of the last voiced packet to the arrival of the first that sounds, without the
    wait for the end of the turn; filling a packet is the caller's time.
    """
    speaker = Speaker()
    asked = [speaker.say(QUESTIONS[n % len(QUESTIONS)]) for n in range(turns)]
    heard = await talk(target, asked, callers)
    waits = _stages(heard, "ended")
    # A turn that was cut in two is no measure of anything but that.
    whole = [turn for turn in heard if turn.whole]
    ours = [turn.packets_ms - turn.stages_ms["ended"] for turn in whole]
    answered = sum(turn.voice_ms is not None for turn in heard)
    p50, p99 = _percentiles(ours, 50, 99)
    return Result(
        figures={
            "turns": len(ours),
            "added_ms_p50": p50,
            "added_ms_p99": p99,
            "end_of_turn_ms_p50": _percentiles(waits, 50)[0],
            "answered": answered,
            "false_ends": sum(turn.ends > 1 for turn in heard),
        },
        checks=[
            Check("every turn answered", answered == turns, f"{answered} of {turns}"),
            _at_most("p50", p50, ADDED_P50_MS),
            _at_most("p99", p99, ADDED_P99_MS),
        ],
    )


async def pauses(target: Target, turns: int, callers: int) -> Result:
    """Real models, a pause in each sentence."""
    speaker, chance = Speaker(), random.Random(7)
    asked = [
        speaker.say(
            WITH_A_PAUSE[n % len(WITH_A_PAUSE)], chance.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
        )
        for n in range(turns)
    ]
    heard = await talk(target, asked, callers)
    cut = [turn for turn in heard if turn.ends > 1]
    share = len(cut) / len(heard)
    return Result(
        figures={
            "turns": len(heard),
            "false_ends": len(cut),
            "false_end_share": round(share, 3),
            "end_of_turn_ms_p50": _percentiles(_stages(heard, "ended"), 50)[0],
            "end_of_turn_ms_p90": _percentiles(_stages(heard, "ended"), 90)[0],
            "cut_off": {turn.spoken: turn.written for turn in cut},
        },
        checks=[Check("false ends", share <= FALSE_ENDS, f"{share:.0%}, bar: {FALSE_ENDS:.0%}")],
    )


async def barge_in(target: Target, turns: int, callers: int) -> Result:
    """Talk over answers, at a different moment each time, one call after another."""
    del callers
    speaker, chance = Speaker(), random.Random(7)
    question, interruption = speaker.say(QUESTIONS[5]), speaker.say(INTERRUPTION)
    seen = []
    for _ in range(turns):
        async with conversation(target, LONG) as (caller, events):
            after_s = chance.uniform(0.6, 1.6)
            seen.append(await interrupt(caller, events, question, interruption, after_s))
    return _barge_in_result(seen, turns)


async def talk(target: Target, asked: Sequence[Utterance], callers: int) -> list[TurnHeard]:
    """Every caller says its share, call after call; all callers at once."""
    shares = [asked[first::callers] for first in range(callers)]
    heard = await asyncio.gather(*(_converse(target, share) for share in shares))
    return [turn for turns in heard for turn in turns]


async def _converse(target: Target, asked: Sequence[Utterance]) -> list[TurnHeard]:
    heard = []
    for first in range(0, len(asked), TURNS_A_CALL):
        async with conversation(target, SHORT) as (caller, events):
            for utterance in asked[first : first + TURNS_A_CALL]:
                heard.append(await take_turn(caller, events, utterance))
    return heard


def _voice_result(heard: list[TurnHeard], one_by_one: list[float]) -> Result:
    answered = [turn for turn in heard if turn.voice_ms is not None]
    p50, p90 = _percentiles([turn.voice_ms for turn in answered], 50, 90)
    # One after another they would wait for the end of the turn as well: as long as ours does.
    waits_ms = _percentiles(_stages(heard, "ended"), 50)[0] or 0.0
    sequential_ms = _percentiles([waits_ms + took_ms for took_ms in one_by_one], 50)[0]
    whole = [turn for turn in heard if turn.whole]
    in_packets = [(turn.voice_ms or 0.0) - turn.packets_ms for turn in whole]
    unexplained = [turn.unexplained_ms for turn in whole]
    unexplained_p90 = _percentiles([abs(ms) for ms in unexplained], 90)[0]
    sentences = [words(turn.spoken) for turn in heard]
    wrong = sum(
        errors(spoken, words(turn.written)) for spoken, turn in zip(sentences, heard, strict=True)
    )
    names = ("heard", "ended", "first_words", "first_sound", "sent", "out")
    return Result(
        figures={
            "turns": len(answered),
            "voice_ms_p50": p50,
            "voice_ms_p90": p90,
            "sequential_ms_p50": sequential_ms,
            "stages_ms_p50": {name: _percentiles(_stages(heard, name), 50)[0] for name in names},
            "stages_ms_p90": {name: _percentiles(_stages(heard, name), 90)[0] for name in names},
            "in_packets_ms_p50": _percentiles(in_packets, 50)[0],
            "unexplained_ms_p50": _percentiles(unexplained, 50)[0],
            "unexplained_ms_p90": unexplained_p90,
            "wer": round(wrong / sum(map(len, sentences)), 3),
            "false_ends": sum(turn.ends > 1 for turn in heard),
        },
        checks=[
            Check("every turn answered", len(answered) == len(heard), f"{len(answered)}"),
            _at_most("voice to voice p50", p50, VOICE_MS),
            _at_most("of sequential", p50, SEQUENTIAL_SHARE * (sequential_ms or 0.0)),
            _at_most("stages add up, p90", unexplained_p90, UNEXPLAINED_MS),
        ],
    )


def _barge_in_result(seen: list[Interruption], turns: int) -> Result:
    stops = [one.stop_ms for one in seen if one.stop_ms is not None]
    cuts = [one.cut_error_ms for one in seen if one.cut_error_ms is not None]
    (stop_p50, stop_p99), (cut_p50,) = _percentiles(stops, 50, 99), _percentiles(cuts, 50)
    return Result(
        figures={
            "turns": len(stops),
            "stop_ms_p50": stop_p50,
            "stop_ms_p99": stop_p99,
            "cut_error_ms_p50": cut_p50,
            "cuts": len(cuts),
        },
        checks=[
            Check("every answer stopped", len(cuts) == turns, f"{len(cuts)} of {turns}"),
            _at_most("stop p50", stop_p50, STOP_P50_MS),
            _at_most("stop p99", stop_p99, STOP_P99_MS),
            _at_most("cut error p50", cut_p50, CUT_MS),
        ],
    )


def _stages(heard: list[TurnHeard], name: str) -> list[float]:
    return [turn.stages_ms[name] for turn in heard if name in turn.stages_ms]


def _percentiles(values: Sequence[Any], *percents: float) -> list[float | None]:
    if not values:
        return [None] * len(percents)
    return [round(percentile(values, percent), 1) for percent in percents]


def _at_most(name: str, measured: float | None, bar: float) -> Check:
    passed = measured is not None and measured <= bar
    return Check(name, passed, f"{measured} ms, bar: {bar:.0f}")
