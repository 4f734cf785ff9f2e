"""The engine's small pure parts: what was played, messages, stamps, the ear, the audio cache."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import generate_latest

from backends.agent.audio_cache import CachedSpeech
from backends.agent.ear import MAX_TURN_S, Ear
from backends.agent.messages import chat_messages, tool_messages, user_message
from backends.agent.metrics import TurnMetrics
from backends.agent.models import ModelFailure
from backends.agent.mouth import FRAME_S, Mouth
from backends.agent.played import Played
from backends.agent.stages import Stamps, TurnRecord
from tests.backends.agent.phone import LOUD, SILENT, Phone
from tests.backends.agent.stand_ins import Speaker
from trunkline.backend.events import Playout
from trunkline.v1 import model_pb2


def test_what_was_played_is_known_by_item() -> None:
    """Of two items a cut says how much of each was heard; what was heard whole is not cut."""
    played = Played()
    for item in ("a", "a", "b", "b", "b", "c"):
        played.sent(item)
    assert not played.settle(3)
    assert played.unfinished(3) == {"b": 20, "c": 0}
    assert played.unfinished(5) == {"c": 0}
    assert played.cut(3) == {"b": 20, "c": 0}
    assert played.total == 3
    played.sent("d")
    assert played.settle(4)
    assert played.cut(4) == {}


async def test_a_mouth_speaks_again_when_it_has_been_silenced() -> None:
    """Frames that follow a clear are counted from it; until it is carried out they wait."""
    call = Phone().call
    mouth = Mouth(call, lambda item_id: None, clock=lambda: 0.0)
    await mouth.say("a", SILENT * 10)
    silencing = asyncio.create_task(mouth.stop())
    saying = asyncio.create_task(mouth.say("b", SILENT))
    await asyncio.sleep(0)
    mouth.hear(Playout(sent=2))  # older than the clear
    assert (mouth.sent_frames, mouth.speaking) == (10, True)
    carried_out = model_pb2.Playout(sent_frames=3, cleared_frames=7, clears=1)
    call.hear(model_pb2.CallEvent(call=1, playout=carried_out))
    assert await silencing == {"a": 60}
    await saying
    assert mouth.sent_frames == 4
    assert mouth.unfinished() == {"b": 0}
    assert mouth.quiet_at_s == FRAME_S, "one frame waits, not what was cleared"


def test_messages_are_the_newest_that_fit() -> None:
    """Old ones go first, neighbours of one role are one, the instructions stay."""
    answer = {"type": "message", "role": "assistant", "content": [{"transcript": "x" * 50}]}
    items = [user_message("old"), answer, user_message("one"), user_message("two")]
    assert chat_messages(items, "Be kind.", 40) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one two"},
    ]
    assert len(chat_messages(items)) == 3


def test_an_answer_without_its_call_is_left_out() -> None:
    """A model that reads a tool's answer must have read the call."""
    call = {"type": "function_call", "name": "f", "arguments": "{}" * 40, "call_id": "1"}
    output = {"type": "function_call_output", "call_id": "1", "output": "x"}
    assert chat_messages(
        [user_message("y" * 90), call, output, user_message("z")], max_chars=45
    ) == [{"role": "user", "content": "z"}]
    made, told = tool_messages("1", "f", "{}", "x")
    assert made["tool_calls"][0]["id"] == told["tool_call_id"]


def test_a_record_counts_from_the_last_voiced_packet() -> None:
    """Stages in ms after it, in both directions; a stage happens once."""
    record = TurnRecord(1, Stamps(voiced=10.0, ended=10.25))
    record.stamps.note("out", 10.5)
    record.stamps.note("out", 11.0)
    assert record.shown()["stages_ms"] == {"ended": 250.0, "out": 500.0}
    assert TurnRecord(2).shown()["stages_ms"] == {}
    metrics = TurnMetrics()
    metrics.note(record)
    assert b'trunkline_turn_stage_seconds_sum{stage="out"} 0.5' in generate_latest(metrics.registry)


def test_the_ear_keeps_what_came_before_a_turn_was_noticed() -> None:
    """0.4 s of it; a long turn's oldest sound goes."""
    ear = Ear()
    for number in range(100):
        ear.feed(LOUD, number * 0.02)
    assert len(ear.begin()) == 20 * len(LOUD)
    for number in range(600):
        ear.feed(LOUD, number * 0.02)
    assert len(ear.turn) == int(MAX_TURN_S * 32_000)


def test_the_last_voiced_packet_is_found_by_loudness() -> None:
    """The meter lags behind and says a later one."""
    ear = Ear()
    for number in range(10):
        ear.feed(LOUD if number < 5 else SILENT, number * 0.02)
    assert ear.last_voiced_s(0.16) == 0.08
    assert Ear().last_voiced_s(1.0) == 1.0


async def _spoken(speech: CachedSpeech, text: str) -> bytes:
    return b"".join([pcm async for pcm in speech.speak("call", text)])


async def test_common_phrases_are_spoken_once() -> None:
    """The second time they come from the cache; long ones and failed ones are not kept."""
    speaker = Speaker(fails_after=4)
    speech = CachedSpeech(speaker)
    await speech.warm(("Hello!",))
    assert await _spoken(speech, "Hello!") == await _spoken(speech, "Hello!")
    assert (speaker.spoken, speech.hits) == (["Hello!"], 2)
    long_text = "word " * 20
    for _ in range(2):
        await _spoken(speech, long_text)
    assert speaker.spoken.count(long_text) == 2
    await _spoken(speech, "last")
    with pytest.raises(ModelFailure):
        await _spoken(speech, "fails")


async def test_the_cache_is_bounded() -> None:
    """What was not asked for the longest goes."""
    speaker = Speaker()
    speech = CachedSpeech(speaker, max_bytes=2 * 3200)
    for text in ("one", "two", "one", "three", "one", "two"):
        await _spoken(speech, text)
    assert speaker.spoken == ["one", "two", "three", "two"]
