"""Whole conversations with an agent, models aside: turns, tools, interruptions, failures."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import generate_latest

from backends.agent.agent import AgentProfile
from backends.agent.answers import Phrases
from backends.agent.models import ModelFailure, TextDelta
from backends.agent.reply import Limits
from backends.agent.tools import GetTime, Toolbox
from tests.backends.agent.phone import LOUD, SILENT, Phone, talking_to
from tests.backends.agent.stand_ins import Speaker, Thinker, Writer, calls, models, words

SEMANTIC = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
MANUAL = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
ANSWER = "Paris it is. It is a large city in the middle of France."
SHORT = Limits(0.2, 0.2, 0.2, 0.2, 0.05)


async def test_a_turn_is_answered() -> None:
    """Speech, then silence: the client is told of the turn and the answer in the API's order."""
    thinker, speaker = Thinker(words(ANSWER)), Speaker()
    chosen = models(hear=Writer("What is the capital of France?"), think=thinker, speak=speaker)
    async with talking_to(chosen, session=SEMANTIC) as phone:
        phone.speak()
        done = await phone.heard("response.done")
        await phone.heard("output_audio_buffer.stopped")
    assert done["response"]["status"] == "completed"
    assert done["response"]["usage"]["input_token_details"]["cached_tokens"] == 4
    message = done["response"]["output"][0]["content"][0]
    assert message == {"type": "output_audio", "transcript": f"{ANSWER} "}
    assert "".join(speaker.spoken).replace(" ", "") == ANSWER.replace(" ", "")
    assert len(phone.frames) == 5 * len(ANSWER.split())  # 100 ms a word
    kinds = [event["type"] for event in phone.events]
    order = (
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "response.created",
        "output_audio_buffer.started",
        "response.done",
        "output_audio_buffer.stopped",
    )
    assert sorted(order, key=kinds.index) == list(order)
    assert thinker.heard[0][-1] == {"role": "user", "content": "What is the capital of France?"}


async def test_the_answer_is_begun_before_the_turn_is_over() -> None:
    """The words are written and the answer begun in the pause; the record says so."""
    chosen = models(think=Thinker(words(ANSWER)))
    async with talking_to(chosen, session=SEMANTIC) as phone:
        phone.speak()
        record = await phone.heard("trunkline.turn")
    stages = record["stages_ms"]
    assert record["speculative"]
    assert stages["heard"] <= stages["first_words"] <= stages["ended"]
    assert stages["ended"] <= stages["sent"] <= stages["out"]


async def test_the_record_has_the_legs_of_the_network() -> None:
    """What the transceiver knows of the turn, and later what the client reports of it."""
    chosen = models(think=Thinker(words("Yes.")), speak=Speaker())
    async with talking_to(chosen, session=SEMANTIC) as phone:
        phone.tell_network(packets=100, waited_ms=0.0)
        phone.speak()
        first = await phone.told(1, final=True)
        phone.tell_network(packets=150, waited_ms=1000.0, round_trip_ms=80.0)
        phone.speak()
        second = await phone.told(2, final=True)
        report = {"turn": second["turn"], "rtt_ms": 90.5, "jitter_buffer_ms": 40}
        phone.send("trunkline.client_report", **report)
        reported = await phone.heard("trunkline.turn_network")
        metrics = generate_latest(phone.metrics.registry)
    assert first["network"] == {"rtt_ms": None, "jitter_buffer_ms": 0.0}
    assert second["network"] == {"rtt_ms": 80.0, "jitter_buffer_ms": 20.0}
    legs = {"client_rtt_ms": 90.5, "client_jitter_buffer_ms": 40}
    assert reported["network"] == {**second["network"], **legs}
    for leg, seconds in (("rtt", b"0.08"), ("client_rtt", b"0.0905"), ("jitter_buffer", b"0.02")):
        sum_of = b'trunkline_turn_network_seconds_sum{leg="' + leg.encode() + b'"} '
        assert sum_of + seconds in metrics


def counted(phone: Phone) -> dict[str, float]:
    """Turns by outcome, as Prometheus has them."""
    text = generate_latest(phone.metrics.registry).decode()
    lines = re.findall(r'^trunkline_turns_total\{outcome="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {outcome: float(count) for outcome, count in lines}


async def test_a_turn_is_told_when_its_answer_begins_to_leave() -> None:
    """While the answer is still made; told once more, and counted, when it was heard."""
    going_on = asyncio.Event()
    thinker = Thinker([*words("This is a long answer."), going_on, *words("It ends.")])
    async with talking_to(models(think=thinker, speak=Speaker()), session=SEMANTIC) as phone:
        phone.plays_at_once = False
        phone.speak()
        await phone.heard("output_audio_buffer.started")
        assert phone.named("trunkline.turn") == []
        phone.play(1)
        first = await phone.told(1, final=False)
        assert (phone.named("response.done"), counted(phone)) == ([], {})
        going_on.set()
        last = await phone.told(1, final=True)
    assert first["stages_ms"]["sent"] <= first["stages_ms"]["out"]
    assert last == {**first, "final": True, "event_id": last["event_id"]}
    assert len(phone.named("trunkline.turn")) == 2
    kinds = [event["type"] for event in phone.events]
    assert kinds[-2:] == ["output_audio_buffer.stopped", "trunkline.turn"]
    assert counted(phone) == {"answered": 1}


async def test_an_interruption_before_anything_was_heard() -> None:
    """The turn is told once, over and without the moment at which sound would have left."""
    thinker = Thinker([*words("This is a long answer."), None])
    async with talking_to(models(think=thinker, speak=Speaker()), session=SEMANTIC) as phone:
        phone.plays_at_once = False
        phone.speak()
        await phone.heard("output_audio_buffer.started")
        phone.say(LOUD, 5)
        record = await phone.told(1, final=True)
        await phone.heard("output_audio_buffer.cleared")
    assert record["interrupted"]
    assert "sent" in record["stages_ms"] and "out" not in record["stages_ms"]
    assert len(phone.named("trunkline.turn")) == 1
    assert counted(phone) == {"interrupted": 1}


async def test_a_failure_of_an_answer_that_is_being_heard() -> None:
    """What was told first knows nothing of it, what is told last does; it is counted once."""
    going_on = asyncio.Event()
    broken = [*words("It was a very long"), going_on, ModelFailure("llm", "cut_off")]
    chosen = models(think=Thinker(broken), speak=Speaker())
    async with talking_to(chosen, session=SEMANTIC) as phone:
        phone.speak()
        first = await phone.told(1, final=False)
        going_on.set()
        last = await phone.told(1, final=True)
    assert (first["failed"], last["failed"]) == (None, "llm: cut_off")
    assert first["stages_ms"] == last["stages_ms"]
    assert counted(phone) == {"failed": 1}


async def test_an_apology_is_told_as_one_while_it_is_heard() -> None:
    """The failure is known before the first word of it leaves."""
    chosen = models(think=Thinker([ModelFailure("llm", "down")]), speak=Speaker())
    async with talking_to(chosen, session=SEMANTIC) as phone:
        phone.speak()
        first = await phone.told(1, final=False)
    assert first["failed"] == "llm: down"


async def test_an_answer_that_follows_a_clear_at_once() -> None:
    """Each turn has its own stamps and end, also while the first is still being silenced."""
    chosen = models(think=Thinker(words(ANSWER)), speak=Speaker(ms_per_word=500))
    async with talking_to(chosen, session=SEMANTIC) as phone:
        phone.plays_at_once = phone.answers_clears = False
        phone.speak()
        await phone.heard("response.done")
        phone.play(20)
        first = await phone.told(1, final=False)
        spoken = len(phone.frames)
        phone.send("output_audio_buffer.clear")
        phone.send("response.create")
        stopped = await phone.told(1, final=True)
        await phone.heard("response.created", 2)
        await phone.until(lambda: phone.clears)
        phone.play(0)  # the clear was carried out
        truncated = await phone.heard("conversation.item.truncated")
        await phone.until(lambda: len(phone.frames) > spoken)
        phone.play(1)
        second = await phone.told(2, final=False)
    own = {"final": True, "interrupted": True, "event_id": stopped["event_id"]}
    assert stopped == {**first, **own}
    assert truncated["audio_end_ms"] == 400
    assert second["response_id"] == phone.named("response.created")[1]["response"]["id"]
    assert second["stages_ms"] == {}, "it did not begin with speech"
    assert not second["interrupted"]
    assert counted(phone) == {"interrupted": 2}, "the second by the end of the call"


async def test_a_caller_who_hangs_up_in_the_middle_of_an_answer() -> None:
    """The turn ends with the call and is counted, once."""
    async with talking_to(models(speak=Speaker(ms_per_word=500)), session=SEMANTIC) as phone:
        phone.plays_at_once = False
        phone.speak()
        await phone.heard("response.done")
        phone.play(1)
        await phone.told(1, final=False)
    assert counted(phone) == {"interrupted": 1}


async def test_what_was_begun_in_a_pause_is_thrown_away() -> None:
    """A caller who goes on is answered once, and to everything."""
    texts = ("I would like to book a table.", "I would like to book a table for two people.")
    thinker = Thinker(words(ANSWER))
    chosen = models(hear=Writer(*texts), think=thinker)
    async with talking_to(chosen, session=SEMANTIC) as phone:
        phone.say(LOUD, 30)
        phone.say(SILENT, 6)
        await thinker.until(lambda: thinker.heard)
        phone.speak()
        record = await phone.heard("trunkline.turn")
        await phone.heard("response.done")
    assert (record["discarded"], len(phone.named("response.created"))) == (1, 1)
    assert [messages[-1]["content"] for messages in thinker.heard] == list(texts)


async def test_the_caller_interrupts() -> None:
    """The voice stops at once, and the history keeps what had left for the caller's ear."""
    thinker = Thinker(words(ANSWER))
    async with talking_to(models(think=thinker, speak=Speaker()), session=SEMANTIC) as phone:
        phone.plays_at_once = False
        phone.speak()
        await phone.heard("response.done")
        phone.play(20)  # 400 ms: "Paris it is." and a word
        phone.say(LOUD, 5)
        truncated = await phone.heard("conversation.item.truncated")
        await phone.heard("output_audio_buffer.cleared")
        phone.say(LOUD, 20)
        phone.say(SILENT, 8)
        await thinker.until(lambda: len(thinker.heard) > 1)
    assert (truncated["audio_end_ms"], phone.clears) == (400, 1)
    assert thinker.heard[-1][1] == {"role": "assistant", "content": "Paris it is. It"}


async def test_the_client_truncates_at_what_was_heard() -> None:
    """Sound that waits at the transceiver has not been heard, so nothing can end in it."""
    chosen = models(think=Thinker(words("word " * 45)), speak=Speaker(ms_per_word=100))
    async with talking_to(chosen, session=SEMANTIC) as phone:
        phone.plays_at_once = False
        phone.speak()
        done = await phone.heard("response.done")
        item_id = done["response"]["output"][0]["id"]
        phone.play(20)
        at = {"item_id": item_id, "content_index": 0}
        phone.send("conversation.item.truncate", event_id="late", **at, audio_end_ms=4500)
        error = await phone.heard("error")
        phone.send("conversation.item.truncate", **at, audio_end_ms=300)
        truncated = await phone.heard("conversation.item.truncated")
    assert (error["error"]["param"], error["error"]["event_id"]) == ("audio_end_ms", "late")
    assert truncated["audio_end_ms"] == 300


async def test_an_interruption_while_the_answer_is_made() -> None:
    """Model and voice are left, the response ends cancelled, nothing more is said."""
    thinker = Thinker([*words("This is a long answer."), None])
    async with talking_to(models(think=thinker, speak=Speaker()), session=SEMANTIC) as phone:
        phone.plays_at_once = False
        phone.speak()
        await phone.heard("output_audio_buffer.started")
        phone.say(LOUD, 5)
        done = await phone.heard("response.done")
        spoken = len(phone.frames)
        await phone.heard("output_audio_buffer.cleared")
        await thinker.until(lambda: thinker.left)
    assert done["response"]["status"] == "cancelled"
    assert done["response"]["status_details"]["reason"] == "turn_detected"
    assert len(phone.frames) == spoken


async def test_a_tool_is_run() -> None:
    """The model calls get_time, ahead, for it is harmless; its next messages have the time."""
    thinker = Thinker(calls("get_time"), words("It is late."))
    async with talking_to(models(think=thinker), Toolbox([GetTime()]), session=SEMANTIC) as phone:
        phone.speak()
        record = await phone.heard("trunkline.turn")
    assert record["tools"] == ["get_time"]
    assert record["stages_ms"]["tool_started"] <= record["stages_ms"]["tool_ended"]
    assert record["stages_ms"]["tool_ended"] <= record["stages_ms"]["ended"]
    assert "time" in json.loads(thinker.heard[1][-1]["content"])


class Stuck:
    """A tool that never answers."""

    name = "stuck"
    description = ""
    parameters: Mapping[str, Any] = {"type": "object", "properties": {}}
    timeout_s = 0.2
    harmless = False

    async def run(self, arguments: Mapping[str, Any]) -> str:
        await asyncio.Event().wait()
        return ""


async def test_a_tool_that_hangs_is_spoken_over_and_given_up() -> None:
    """The filler is said, the model is told of the time-out, the caller gets an answer."""
    thinker, speaker = Thinker(calls("stuck"), words("That did not work.")), Speaker()
    profile = AgentProfile(phrases=Phrases(filler="One moment."), limits=SHORT)
    chosen = models(think=thinker, speak=speaker)
    async with talking_to(chosen, Toolbox([Stuck()]), profile, SEMANTIC) as phone:
        phone.speak()
        first = await phone.told(1, final=False)
        record = await phone.told(1, final=True)
    assert first["tools"] == record["tools"] == ["stuck"]
    assert "tool_ended" not in first["stages_ms"]  # the filler is heard meanwhile
    assert record["stages_ms"]["tool_ended"] >= record["stages_ms"]["out"]
    assert record["stages_ms"]["tool_started"] >= record["stages_ms"]["ended"]  # not harmless
    assert speaker.spoken[0] == "One moment."
    assert "in time" in thinker.heard[1][-1]["content"]
    assert "".join(speaker.spoken[1:]).startswith("That did not")


async def test_a_function_of_the_client() -> None:
    """It is called over the data channel; the client's output and wish are answered."""
    tool = {"type": "function", "name": "open_door", "parameters": {"type": "object"}}
    thinker = Thinker(calls("open_door", '{"door":1}'), words("It is open."))
    session = {**SEMANTIC, "tools": [tool]}
    async with talking_to(models(think=thinker), session=session) as phone:
        phone.speak()
        done = await phone.heard("response.function_call_arguments.done")
        await phone.heard("response.done")
        output = {"type": "function_call_output", "call_id": done["call_id"], "output": "ok"}
        phone.send("conversation.item.create", item=output)
        phone.send("response.create")
        await phone.heard("response.done", 2)
    assert json.loads(done["arguments"]) == {"door": 1}
    assert thinker.heard[1][-1] == {"role": "tool", "tool_call_id": "call_a", "content": "ok"}


async def test_words_before_a_function_are_said_to_their_end() -> None:
    """Less than a frame of them does not wait for the next answer."""
    tool = {"type": "function", "name": "open_door", "parameters": {"type": "object"}}
    thinker = Thinker([*words("Let me see."), *calls("open_door")])
    chosen = models(think=thinker, speak=Speaker(ms_per_word=110))
    async with talking_to(chosen, session={**SEMANTIC, "tools": [tool]}) as phone:
        phone.speak()
        await phone.heard("response.done")
        await phone.heard("output_audio_buffer.stopped")
    assert len(phone.frames) == 17  # 330 ms


async def test_a_function_of_the_client_after_words() -> None:
    """What is said after it is another turn, and the one before is over, though still heard."""
    tool = {"type": "function", "name": "open_door", "parameters": {"type": "object"}}
    thinker = Thinker([*words("Let me see."), *calls("open_door")], words("It is open."))
    chosen = models(think=thinker, speak=Speaker(ms_per_word=1000))
    async with talking_to(chosen, session={**SEMANTIC, "tools": [tool]}) as phone:
        phone.plays_at_once = False
        phone.speak()
        await phone.heard("response.done")
        phone.play(1)
        await phone.told(1, final=False)
        output = {"type": "function_call_output", "call_id": "call_a", "output": "ok"}
        phone.send("conversation.item.create", item=output)
        phone.send("response.create")
        first = await phone.told(1, final=True)
        await phone.heard("response.done", 2)
        phone.play(len(phone.frames) - 1)
        second = await phone.told(2, final=False)
    told, begun = (first["event_id"], phone.named("response.output_item.added")[-1]["event_id"])
    ids = [event["event_id"] for event in phone.events]
    assert ids.index(told) < ids.index(begun), "over as soon as the next one begins"
    assert (first["interrupted"], second["interrupted"]) == (False, False)
    created = phone.named("response.created")
    assert [first["response_id"], second["response_id"]] == [
        one["response"]["id"] for one in created
    ]


async def test_the_client_ends_turns_itself() -> None:
    """Without turn detection nothing is answered until it is committed and asked for."""
    thinker = Thinker(words(ANSWER))
    async with talking_to(models(think=thinker), session=MANUAL) as phone:
        phone.speak()
        phone.send("input_audio_buffer.commit")
        await phone.heard("input_audio_buffer.committed")
        phone.send("response.create")
        await phone.heard("response.done")
    assert phone.named("input_audio_buffer.speech_started") == []


async def test_sound_that_comes_as_an_event() -> None:
    """input_audio_buffer.append is heard as the caller's own voice."""
    writer = Writer("Hello.")
    sound = base64.b64encode(LOUD * 30).decode()
    async with talking_to(models(hear=writer), session=MANUAL) as phone:
        phone.send("input_audio_buffer.append", audio=sound)
        phone.send("input_audio_buffer.commit")
        await phone.heard("conversation.item.done")
        phone.send("response.create")
        await phone.heard("response.done")
    assert writer.fed_bytes == len(LOUD) * 30 * 2 // 3


@pytest.mark.parametrize("by_update", [False, True])
@pytest.mark.parametrize("padding_ms", [0, 300, 1000])
async def test_sound_from_before_the_voice(padding_ms: int, by_update: bool) -> None:
    """server_vad's prefix_padding_ms of it belong to the turn, and are written down with it."""
    detection = {"type": "server_vad", "prefix_padding_ms": padding_ms}
    wanted = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    writer = Writer("Hello.")
    first = SEMANTIC if by_update else wanted
    async with talking_to(models(hear=writer), session=first) as phone:
        if by_update:
            phone.send("session.update", session=wanted)
            await phone.heard("session.updated")
        phone.say(SILENT, 100)
        phone.say(LOUD, 30)
        phone.say(SILENT, 40)
        started = await phone.heard("input_audio_buffer.speech_started")
        stopped = await phone.heard("input_audio_buffer.speech_stopped")
        await phone.heard("response.done")
    assert 2000 - padding_ms - 40 <= started["audio_start_ms"] <= 2000 - padding_ms + 40
    heard_ms = stopped["audio_end_ms"] - started["audio_start_ms"]
    assert writer.fed_bytes >= 32 * heard_ms


async def test_a_caller_who_says_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """After idle_timeout_ms of silence the client is told, and the agent speaks again."""
    detection = {"type": "server_vad", "silence_duration_ms": 100, "idle_timeout_ms": 5000}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    loop = asyncio.get_running_loop()
    later = loop.call_later

    def sooner(delay_s: float, *rest: Any) -> asyncio.TimerHandle:
        return later(0.05 if delay_s == 5.0 else delay_s, *rest)

    monkeypatch.setattr(loop, "call_later", sooner)
    async with talking_to(models(), session=session) as phone:
        phone.speak()
        await phone.heard("input_audio_buffer.timeout_triggered")
        await phone.heard("response.done", 2)


async def test_the_client_cancels() -> None:
    """response.cancel leaves the model and ends the response."""
    thinker = Thinker([TextDelta("Well, "), None])
    async with talking_to(models(think=thinker), session=SEMANTIC) as phone:
        phone.send("response.create")
        await thinker.until(lambda: thinker.heard)
        phone.send("response.cancel")
        done = await phone.heard("response.done")
        await thinker.until(lambda: thinker.left)
    assert done["response"]["status_details"]["reason"] == "client_cancelled"


async def test_an_answer_in_writing() -> None:
    """Text modality: words and no sound."""
    session = {**SEMANTIC, "output_modalities": ["text"]}
    async with talking_to(models(), session=session) as phone:
        phone.speak()
        await phone.heard("response.output_text.done")
        await phone.heard("response.done")
        record = await phone.told(1, final=True)
    assert phone.frames == []
    assert len(phone.named("trunkline.turn")) == 1, (
        "nothing of it leaves, so it is told when it is over"
    )
    assert "first_words" in record["stages_ms"] and "out" not in record["stages_ms"]


@pytest.mark.parametrize("broken", [Writer(ModelFailure("stt", "down")), Writer(None)])
async def test_speech_that_cannot_be_written_down(broken: Writer) -> None:
    """STT is down, or silent: the client is told, the caller hears an apology, the call goes on."""
    profile = AgentProfile(limits=SHORT, hearing_timeout_s=0.2)
    speaker = Speaker()
    chosen = models(hear=broken, speak=speaker)
    async with talking_to(chosen, profile=profile, session=SEMANTIC) as phone:
        phone.speak()
        error = await phone.heard("error")
        await phone.heard("response.done")
        record = await phone.told(1, final=False)
        assert not phone.hung_up.is_set()
    assert error["error"]["code"] in ("stt_down", "stt_timeout")
    assert record["failed"].startswith("stt")
    assert speaker.spoken == [Phrases().apology]


async def test_speech_that_cannot_be_written_down_during_an_answer() -> None:
    """Nobody apologises over it; the turn is told all the same."""
    listen_on = {"type": "semantic_vad", "interrupt_response": False}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": listen_on}}}
    writer = Writer("Hello.", ModelFailure("stt", "down"))
    thinker = Thinker([*words("This is a long answer."), None])
    async with talking_to(models(hear=writer, think=thinker), session=session) as phone:
        phone.speak()
        await phone.told(1, final=False)
        phone.speak()
        record = await phone.told(2, final=True)
    assert record["failed"] == "stt: down"
    assert len(phone.named("response.created")) == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ([ModelFailure("llm", "down")], "llm_down"),
        ([None], "llm_timeout"),
        ([TextDelta("It was a "), ModelFailure("llm", "cut_off")], "llm_cut_off"),
    ],
)
async def test_a_chat_model_that_fails(answer: list[Any], code: str) -> None:
    """Down, silent or cut off: the response fails by name, and the next turn is answered."""
    thinker = Thinker(answer, words(ANSWER))
    chosen = models(think=thinker, speak=Speaker())
    async with talking_to(chosen, profile=AgentProfile(limits=SHORT), session=SEMANTIC) as phone:
        phone.speak()
        failed = await phone.heard("response.done")
        record = await phone.told(1, final=True)
        phone.speak()
        done = await phone.heard("response.done", 2)
    assert failed["response"]["status_details"]["error"]["code"] == code
    assert record["failed"] == code.replace("_", ": ", 1)
    assert done["response"]["status"] == "completed"


@pytest.mark.parametrize(
    "speaker", [Speaker(fails_after=0), Speaker(fails_after=1), Speaker(hangs=True)]
)
async def test_a_voice_that_fails(speaker: Speaker) -> None:
    """Down, cut off or silent: the response fails, the call goes on."""
    chosen = models(speak=speaker, think=Thinker(words(ANSWER)))
    async with talking_to(chosen, profile=AgentProfile(limits=SHORT), session=SEMANTIC) as phone:
        phone.speak()
        done = await phone.heard("response.done")
        assert not phone.hung_up.is_set()
    assert done["response"]["status_details"]["error"]["code"].startswith("tts_")


async def test_a_voice_that_never_ends() -> None:
    """Sound without end is held up by the call's credit and cut off at a bound."""

    class Flood(Speaker):
        async def speak(self, call: str, text: str, voice: str = "") -> Any:
            while True:
                yield bytes(64_000)

    async with talking_to(models(speak=Flood()), session=SEMANTIC) as phone:
        phone.speak()
        done = await phone.heard("response.done")
    assert done["response"]["status_details"]["error"]["code"] == "tts_too_long"
    assert len(phone.frames) <= 180 * 50


async def test_a_silent_caller() -> None:
    """A minute of silence is no turn, and nothing grows by it."""
    async with talking_to(models(), session=SEMANTIC) as phone:
        for _ in range(60):
            phone.say(SILENT, 50)
            await asyncio.sleep(0)
        phone.send("conversation.item.retrieve", item_id="none")
        await phone.heard("error")
    assert [event["type"] for event in phone.events] == ["session.created", "error"]


STAGES = {
    "hearing": models(hear=Writer(None)),
    "thinking": models(think=Thinker([None])),
    "speaking": models(speak=Speaker(hangs=True)),
    "in a tool": models(think=Thinker(calls("stuck"))),
    "playing": models(),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_hanging_up_leaves_nothing(stage: str) -> None:
    """Whatever the agent is doing when the caller hangs up ends: `talking_to` counts the tasks."""
    async with talking_to(STAGES[stage], Toolbox([Stuck()]), session=SEMANTIC) as phone:
        phone.plays_at_once = False
        phone.speak()
        if stage in ("hearing", "speaking"):
            await phone.heard("input_audio_buffer.speech_stopped")
        elif stage == "playing":
            await phone.heard("output_audio_buffer.started")
        else:
            await phone.heard("response.created")


async def test_twenty_callers_at_once() -> None:
    """Every one of them is answered."""
    shared = models()

    async def converse() -> str:
        async with talking_to(shared, session=SEMANTIC, alone=False) as phone:
            phone.speak()
            done = await phone.heard("response.done")
            return str(done["response"]["status"])

    assert await asyncio.gather(*(converse() for _ in range(20))) == ["completed"] * 20


async def test_a_greeting() -> None:
    """It is the first thing said, and no model was asked."""
    thinker, speaker = Thinker(words(ANSWER)), Speaker()
    profile = AgentProfile(greeting="Hello there!")
    async with talking_to(models(think=thinker, speak=speaker), profile=profile) as phone:
        await phone.heard("response.done")
    assert (speaker.spoken, thinker.heard) == (["Hello there!"], [])
