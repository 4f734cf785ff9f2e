"""An agent that goes on with another's conversation, whatever that was doing when it was lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from backends.agent.agent import AgentProfile
from backends.agent.answers import Phrases
from backends.agent.memory import AgentMemory, MemoryUnreadable, read, write
from backends.agent.models import TextDelta, ToolCall
from backends.agent.tools import Toolbox
from backends.realtime import RealtimeSession
from backends.realtime.memory import remembered
from tests.backends.agent.phone import LOUD, Phone, talking_to
from tests.backends.agent.stand_ins import Speaker, Thinker, Writer, models, words
from trunkline.backend.restored import MAX_SNAPSHOT_BYTES
from trunkline.v1 import model_pb2

SEMANTIC = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
FRAMES_A_WORD = 5  # the Speaker's
GREETED = AgentProfile(greeting="Hello, who is there?")
CUT_OFF = Phrases().cut_off


def lost(phone: Phone, sent: int = 0, queued: int = 0) -> model_pb2.Restored:
    """What is left of a call whose agent is gone; of its frames so many left, and so many wait."""
    playout = model_pb2.Playout(sent_frames=sent, queued_frames=queued)
    return model_pb2.Restored(snapshot=phone.snapshot, playout=playout, losses=1, gap_ms=200)


def said(phone: Phone) -> list[str]:
    """What the agent says, by the transcripts of its items."""
    done = phone.named("response.output_audio_transcript.done")
    return [event["transcript"].strip() for event in done]


async def until_remembered(phone: Phone, what: str) -> None:
    await phone.until(lambda: what.encode() in phone.snapshot)


async def test_it_knows_what_was_said_before() -> None:
    """The next agent asks its model with the whole conversation, and greets nobody again."""
    first = models(hear=Writer("My name is Ada."), think=Thinker(words("Nice to meet you.")))
    async with talking_to(first, session=SEMANTIC, profile=GREETED) as phone:
        await phone.heard("output_audio_buffer.stopped")
        phone.speak()
        await phone.told(1, final=True)
        await until_remembered(phone, "Ada")
        created = phone.named("session.created")[0]["session"]
        restored = lost(phone, len(phone.frames))
    thinker = Thinker(words("It is Ada."))
    second = models(hear=Writer("What is my name?"), think=thinker)
    async with talking_to(second, profile=GREETED, restored=restored) as phone:
        phone.speak()
        await phone.told(2, final=True)
        phone.send("session.update", session={"type": "realtime"})
        updated = await phone.heard("session.updated")
    assert thinker.heard[0] == [
        {"role": "assistant", "content": "Hello, who is there?"},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Nice to meet you."},
        {"role": "user", "content": "What is my name?"},
    ]
    assert phone.named("session.created") == []
    assert updated["session"] == created, "as it was configured, with the id that it had"


async def test_an_answer_that_was_cut_goes_on_after_the_last_word_heard() -> None:
    """All of it was written; no model is asked again, and every word is said once or twice."""
    text = "One two three four five. Six seven eight nine ten."
    async with talking_to(
        models(hear=Writer("Count."), think=Thinker(words(text)), speak=Speaker()), session=SEMANTIC
    ) as phone:
        phone.plays_at_once = False
        phone.speak()
        await phone.heard("response.done")
        await until_remembered(phone, "nine")
        restored = lost(phone, 3 * FRAMES_A_WORD, 4 * FRAMES_A_WORD)  # seven words will be heard
    thinker, speaker = Thinker(words("no")), Speaker()
    async with talking_to(models(think=thinker, speak=speaker), restored=restored) as phone:
        await phone.heard("output_audio_buffer.stopped", 2)
        truncated = await phone.heard("conversation.item.truncated")
    assert speaker.spoken == ["eight nine ten."] and not thinker.heard
    assert truncated["audio_end_ms"] == 7 * 100
    assert said(phone) == ["eight nine ten."]


async def test_an_answer_that_was_heard_whole_is_not_given_again() -> None:
    """Nothing is said until the caller speaks."""
    async with talking_to(
        models(hear=Writer("Hi."), think=Thinker(words("Hello there.")), speak=Speaker()),
        session=SEMANTIC,
    ) as phone:
        phone.plays_at_once = False
        phone.speak()
        await phone.heard("response.done")
        await until_remembered(phone, '"said":true')
        restored = lost(phone, 4, 2 * FRAMES_A_WORD - 4)
    thinker = Thinker(words("Fine."))
    second = models(hear=Writer("And you?"), think=thinker)
    async with talking_to(second, restored=restored) as phone:
        await phone.heard("output_audio_buffer.stopped")
        assert not phone.named("response.created")
        phone.speak()
        await phone.heard("response.done")
    assert thinker.heard[0][1]["content"] == "Hello there."


async def test_a_model_that_had_not_finished_is_asked_to_go_on() -> None:
    """What it had written is said from where the ear was; the rest comes from the model."""
    going_on = asyncio.Event()
    thinker = Thinker([*words("First comes this. ")[:-1], TextDelta("Then "), going_on])
    async with talking_to(
        models(hear=Writer("Tell me."), think=thinker, speak=Speaker()), session=SEMANTIC
    ) as phone:
        phone.plays_at_once = False
        phone.speak()
        await until_remembered(phone, '"pieces":[["First')
        restored = lost(phone, 1 * FRAMES_A_WORD)
    next_thinker, speaker = Thinker(words("Then comes that.")), Speaker()
    async with talking_to(models(think=next_thinker, speak=speaker), restored=restored) as phone:
        done = await phone.heard("response.done", 2)
        assert phone.named("response.done")[0]["response"]["status"] == "incomplete"
    assert done["response"]["status"] == "completed"
    assert speaker.spoken[-1] == "Then comes that." and "this." in speaker.spoken[0]
    roles = [message["role"] for message in next_thinker.heard[0]]
    assert roles == ["user", "assistant", "user"]
    assert "First comes this." in next_thinker.heard[0][1]["content"].replace("  ", " ")


async def test_an_answer_of_which_nothing_was_heard_is_asked_for_again() -> None:
    """The client sees the response end, and another that is complete."""
    async with talking_to(
        models(hear=Writer("Tell me."), think=Thinker([None])), session=SEMANTIC
    ) as phone:
        phone.speak()
        await phone.heard("response.created")
        await until_remembered(phone, '"answer":{')
        restored = lost(phone)
    thinker = Thinker(words("Here it is."))
    async with talking_to(models(think=thinker), restored=restored) as phone:
        await phone.heard("response.done", 2)
    assert thinker.heard[0][-1] == {"role": "user", "content": "Tell me."}
    statuses = [event["response"]["status"] for event in phone.named("response.done")]
    assert statuses == ["incomplete", "completed"]


async def test_a_tool_is_not_run_twice() -> None:
    """Where one with an effect was running, the agent says that something went wrong."""
    running = asyncio.Event()

    class Order:
        name, description, timeout_s, harmless = "order", "", 10.0, False
        parameters: Mapping[str, Any] = {"type": "object", "properties": {}}

        async def run(self, arguments: Mapping[str, Any]) -> str:
            running.set()
            await asyncio.Event().wait()
            return ""

    order = Order()
    thinker = Thinker([ToolCall("c", "order", "{}")])
    async with talking_to(
        models(hear=Writer("Order it."), think=thinker), _toolbox(order), session=SEMANTIC
    ) as phone:
        phone.speak()
        await running.wait()
        await until_remembered(phone, '"effects":true')
        restored = lost(phone)
    running.clear()
    async with talking_to(
        models(think=Thinker([ToolCall("c", "order", "{}")])), _toolbox(order), restored=restored
    ) as phone:
        await phone.heard("response.done", 2)
    assert said(phone) == [CUT_OFF] and not running.is_set()


def _toolbox(tool: Any) -> Toolbox:
    return Toolbox([tool])


async def test_a_turn_that_was_over_gets_its_answer() -> None:
    """Its words were known, and nobody had begun to answer."""
    session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    async with talking_to(models(), session=session) as phone:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "?"}]}
        phone.send("conversation.item.create", item=item)
        await until_remembered(phone, "input_text")
        memory = read(phone.snapshot)
        item_id = memory.session.items[0].item["id"]
        snapshot = write(replace(memory, unanswered=item_id))
    thinker = Thinker(words("Here."))
    restored = model_pb2.Restored(snapshot=snapshot, losses=1)
    async with talking_to(models(think=thinker), restored=restored) as phone:
        await phone.heard("response.done")
    assert thinker.heard[0] == [{"role": "user", "content": "?"}]


async def test_a_turn_whose_words_are_lost_is_asked_for_again() -> None:
    """It was over, and nobody had written it down."""
    async with talking_to(models(hear=Writer(None)), session=SEMANTIC) as phone:
        phone.speak()
        await phone.heard("input_audio_buffer.committed")
        await until_remembered(phone, '"unanswered":"item_')
        restored = lost(phone)
    async with talking_to(models(), restored=restored) as phone:
        await phone.heard("response.done")
    assert said(phone) == [CUT_OFF]


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_caller_who_was_speaking(goes_on: bool) -> None:
    """What was heard of the sentence is its beginning; if no more comes, it is the turn."""
    writer = Writer("I would like", "I would like", "I would like")
    writer.partials = True
    async with talking_to(models(hear=writer), session=SEMANTIC) as phone:
        for _ in range(100):
            phone.say(LOUD, 5)
            await asyncio.sleep(0.02)
            if b"would like" in phone.snapshot:
                break
        await until_remembered(phone, "would like")
        started = phone.named("input_audio_buffer.speech_started")[0]
        restored = lost(phone)
    thinker = Thinker(words("Fine."))
    second = models(hear=Writer("a cup of tea."), think=thinker)
    async with talking_to(second, restored=restored) as phone:
        if goes_on:
            phone.speak()
        committed = await phone.heard("input_audio_buffer.committed")
        await phone.heard("response.done")
    assert committed["item_id"] == started["item_id"]
    expected = "I would like a cup of tea." if goes_on else "I would like"
    assert thinker.heard[0][-1]["content"] == expected


@pytest.mark.parametrize(
    "snapshot", [b"", b"{", b"[]", b'{"version": 2}', b'{"version": 0}', b"\xff\xfe"]
)
async def test_foreign_bytes_begin_anew(snapshot: bytes) -> None:
    """They are refused, the client gets a new session, and the caller hears of a loss."""
    restored = model_pb2.Restored(snapshot=snapshot, losses=1)
    async with talking_to(models(), profile=GREETED, restored=restored) as phone:
        await phone.heard("session.created")
        await phone.heard("response.done")
    assert said(phone) == [CUT_OFF]


async def test_another_version_is_refused_with_its_reason() -> None:
    """The text says where it does not fit, and quotes nothing."""
    async with talking_to(models(), session=SEMANTIC) as phone:
        phone.send("session.update", session={"type": "realtime", "instructions": "SECRET"})
        await until_remembered(phone, "SECRET")
    newer = json.loads(phone.snapshot)
    newer["version"] = 2
    with pytest.raises(MemoryUnreadable, match=r"^version: literal_error$"):
        read(json.dumps(newer).encode())
    newer["version"] = 1
    newer["session"]["config"]["instructions"] = 5
    with pytest.raises(MemoryUnreadable, match=r"instructions: string_type") as refused:
        read(json.dumps(newer).encode())
    assert "SECRET" not in str(refused.value)


async def test_a_long_conversation_is_remembered_by_its_newest_items() -> None:
    """Never more than the transceiver keeps."""
    async with talking_to(models(), session=SEMANTIC) as phone:
        for number in range(40):
            content = [{"type": "input_text", "text": f"{number} " + "x" * 10_000}]
            item = {"type": "message", "role": "user", "content": content}
            phone.send("conversation.item.create", item=item)
        await until_remembered(phone, '"39 x')
    assert MAX_SNAPSHOT_BYTES * 0.8 < len(phone.snapshot) <= MAX_SNAPSHOT_BYTES
    kept = read(phone.snapshot).session.items
    assert kept[-1].item["content"][0]["text"].startswith("39 ")
    assert 20 <= len(kept) < 40


def test_a_session_that_is_too_large_by_itself_is_not_remembered() -> None:
    """Its settings alone are more than a snapshot may have."""
    session = RealtimeSession(json.dumps({"instructions": "\u00e9" * 131_000}))
    tools = [{"type": "function", "name": f"t{n}", "description": "x" * 100_000} for n in range(3)]
    update = {"type": "session.update", "session": {"type": "realtime", "tools": tools}}
    session.client_event(json.dumps(update))
    assert write(AgentMemory(remembered(session), 0, 0.0)) == b""
