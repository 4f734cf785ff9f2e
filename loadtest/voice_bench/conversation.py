"""Conversations turn by turn: what the caller said, what came back, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from loadtest.callers.dtls import Identity
from loadtest.callers.talking import Spoken, TalkingCaller, talking
from loadtest.target import Target
from loadtest.voice_bench.events import Events, events_of
from loadtest.voice_bench.script import Utterance

ANSWER_S = 15.0  # until an answer counts as missing
QUIET_S = 0.8  # an answer is over when nothing was heard for so long
LONGEST_ANSWER_S = 15.0
SETTLE_S = 0.5  # of silence before the caller speaks again
NEWS_S = 1.0  # for events that travel beside the sound

COMMITTED = "input_audio_buffer.committed"
TRANSCRIPT = "conversation.item.input_audio_transcription.completed"
TURN = "trunkline.turn"
TRUNCATED = "conversation.item.truncated"


@dataclass
class TurnHeard:
    """One turn; None where nothing came. `stages_ms` count from the last voiced packet."""

    spoken: str
    voice_ms: float | None = None  # last sound said → first sound heard
    packets_ms: float = 0.0  # last packet said left → first packet with sound came
    ends: int = 0  # how often the agent thought that this turn was over
    written: str = ""
    stages_ms: dict[str, float] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Answered, once, and the agent said where the time went."""
        return self.voice_ms is not None and self.ends == 1 and "out" in self.stages_ms

    @property
    def unexplained_ms(self) -> float:
        """What no stage stands for, of a whole turn: both ways between caller and agent.

        The stages go from the last voiced packet in to the first packet out, so they are compared
        with packets; `voice_ms` has besides how full the last packet of the one and how silent the
        first of the other was, which the caller knows to the sample.
        """
        return self.packets_ms - self.stages_ms["out"]


@dataclass
class Interruption:
    """One answer that was talked over."""

    stop_ms: float | None = None  # first sound said → last sound heard
    cut_error_ms: float | None = None  # history's idea of what was heard, against what was


@asynccontextmanager
async def conversation(
    target: Target, session: dict[str, Any]
) -> AsyncIterator[tuple[TalkingCaller, Events]]:
    """A connected call and its events. Raises CallFailedError and aiohttp.ClientError."""
    session_json = json.dumps({"type": "realtime", **session})
    async with (
        aiohttp.ClientSession() as http,
        talking(http, target, Identity.make(), session_json) as caller,
        events_of(http, target, caller.answer) as events,
    ):
        await asyncio.sleep(SETTLE_S)
        yield caller, events


async def take_turn(caller: TalkingCaller, events: Events, utterance: Utterance) -> TurnHeard:
    """Say something, wait for the answer and its end."""
    turn, since = TurnHeard(utterance.text), len(events.all)
    spoken = await caller.say(utterance.sound)
    first = await caller.sound_after(spoken.ended_s, ANSWER_S)
    if first is not None:
        turn.voice_ms = 1000 * (first.first_s - spoken.ended_s)
        turn.packets_ms = 1000 * (first.came_s - spoken.left_s)
        await caller.quiet(QUIET_S, LONGEST_ANSWER_S)
    await _until(lambda: _finals(events, since))
    _read_events(turn, events, since)
    return turn


async def interrupt(
    caller: TalkingCaller,
    events: Events,
    question: Utterance,
    interruption: Utterance,
    after_s: float,
) -> Interruption:
    """Ask, and talk over the answer `after_s` after its first sound."""
    seen, since = Interruption(), len(events.all)
    asked = await caller.say(question.sound)
    first = await caller.sound_after(asked.ended_s, ANSWER_S)
    if first is None:
        return seen
    await asyncio.sleep(after_s)
    spoken = await caller.say(interruption.sound)
    await _until(lambda: events.named(TRUNCATED, since))
    _read_interruption(seen, caller, events.named(TRUNCATED, since), first.came_s, spoken)
    return seen


def _read_events(turn: TurnHeard, events: Events, since: int) -> None:
    turn.ends = len(events.named(COMMITTED, since))
    turn.written = " ".join(event["transcript"] for event in events.named(TRANSCRIPT, since))
    records = [event for event in _finals(events, since) if event["response_id"]]
    if records:
        turn.stages_ms = records[-1]["stages_ms"]


def _finals(events: Events, since: int) -> list[dict[str, Any]]:
    """Turns that are over: what is told of a turn before may lack a stage."""
    return [event for event in events.named(TURN, since) if event["final"]]


def _read_interruption(
    seen: Interruption,
    caller: TalkingCaller,
    truncated: Sequence[dict[str, Any]],
    first_s: float,
    spoken: Spoken,
) -> None:
    # The answer to the interruption comes after it; what is heard before is the old answer.
    last_s = caller.last_sound_s(spoken.ended_s)
    seen.stop_ms = 1000 * (last_s - spoken.began_s)
    if truncated:
        packets = caller.answer_packets(first_s, spoken.ended_s)
        seen.cut_error_ms = abs(truncated[0]["audio_end_ms"] - packets * 20)


async def _until(condition: Any) -> None:
    for _ in range(int(NEWS_S / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
