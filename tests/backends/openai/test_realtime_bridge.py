"""A call on a Realtime API over WebSocket, against a server that speaks it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from backends.agent.played import Played
from backends.openai_realtime import bridge
from backends.openai_realtime.bridge import converse
from backends.openai_realtime.translate import Silence, Sound, ToCaller, ToUpstream, Translator
from backends.openai_realtime.upstream import Realtime
from backends.realtime.page import Page
from fleet.page_policy import DEFAULT
from tests.backends.kit import TIMEOUT_S, Sink, linked, serving
from tests.backends.openai.upstream_stand_in import FRAME, UpstreamStandIn, upstream_stand_in
from tests.conftest import free_port
from trunkline.backend import Call
from trunkline.backend.events import AudioFormat

LABEL = "oai-events"


class Caller(Sink):
    """The caller's side of a call, which plays what it gets only when told."""

    def __init__(self) -> None:
        super().__init__()
        self.call: Any = None
        self.played = 0

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(text) for _, text in self.data]

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    async def until_told(self, kind: str) -> dict[str, Any]:
        await self.until(lambda: kind in self.kinds)
        return next(event for event in self.events if event["type"] == kind)

    def say(self, **event: Any) -> None:
        self.call.send_text(LABEL, json.dumps(event))

    def speak(self) -> None:
        self.call.send_audio(FRAME, 0, 960)

    def play(self, frames: int) -> None:
        """So many frames have left."""
        self.played += frames
        waiting = len(self.audio) - self.played
        self.call.send_playout(self.played, self.played, 0, waiting)

    def on_clear(self) -> None:
        super().on_clear()
        del self.audio[self.played :]
        self.call.send_playout(self.played, self.played, 0, 0)


@pytest.fixture
async def upstream() -> AsyncIterator[UpstreamStandIn]:
    async with upstream_stand_in() as server:
        yield server


@asynccontextmanager
async def calling(url: str, session_json: str = "", credit: int = 500) -> AsyncIterator[Caller]:
    """A call through the bridge to that upstream."""
    realtime = Realtime(url, SecretStr("upstream-key"), "gpt-realtime")

    async def handler(call: Call) -> None:
        await converse(call, realtime)

    caller = Caller()
    accepts = (AudioFormat.PCM16_24000,)
    async with serving(handler, accepts=accepts) as server, linked(server.port) as link:
        pcm = AudioFormat.PCM16_24000.value
        caller.call = link.open_call("call_1", session_json, caller, credit, 0, pcm)
        await caller.call.accepted(TIMEOUT_S)
        yield caller
    await realtime.close()


async def test_events_pass_and_the_session_is_the_callers(upstream: UpstreamStandIn) -> None:
    """Key and model are ours, the session is the caller's in the format we carry."""
    session = {"instructions": "Be brief.", "model": "x", "trunkline": {"backend": "b"}}
    async with calling(upstream.url, json.dumps(session)) as caller:
        update = await upstream.hear("session.update")
        assert (upstream.keys, upstream.models) == (["Bearer upstream-key"], ["gpt-realtime"])
        pcm = {"format": {"type": "audio/pcm", "rate": 24000}}
        audio = {"input": pcm, "output": pcm}
        expected = {"type": "realtime", "instructions": "Be brief.", "audio": audio}
        assert update["session"] == expected
        await caller.until_told("session.created")
        assert caller.data[0][0] == LABEL
        assert str(caller.data[0][1]).startswith('{"type":"session.created",'), "for side bands"
        caller.say(type="response.create", event_id="mine")
        assert (await upstream.hear("response.create"))["event_id"] == "mine"
        await upstream.say("response.created", response={"id": "resp_1"})
        assert (await caller.until_told("response.created"))["response"] == {"id": "resp_1"}


async def test_sound_goes_both_ways(upstream: UpstreamStandIn) -> None:
    """The caller's frames become events, sound events become frames, and the buffer is told."""
    async with calling(upstream.url) as caller:
        await caller.until_told("session.created")
        caller.speak()
        append = await upstream.hear("input_audio_buffer.append")
        assert base64.b64decode(append["audio"]) == FRAME
        await upstream.speak(2)
        await upstream.stop_speaking()
        await caller.until(lambda: len(caller.audio) == 2)
        assert caller.audio == [(FRAME, 960)] * 2
        caller.play(2)
        started = await caller.until_told("output_audio_buffer.started")
        stopped = await caller.until_told("output_audio_buffer.stopped")
        assert started["response_id"] == stopped["response_id"] == "resp_1"
        assert "response.output_audio.delta" not in caller.kinds


async def test_a_caller_who_speaks_silences_the_voice(upstream: UpstreamStandIn) -> None:
    """What waits is forgotten, the upstream learns what was heard, and late sound is not played."""
    async with calling(upstream.url) as caller:
        await caller.until_told("session.created")
        await upstream.speak(10)
        await caller.until(lambda: len(caller.audio) == 10)
        caller.play(4)
        await upstream.say("input_audio_buffer.speech_started", item_id="i", audio_start_ms=0)
        truncate = await upstream.hear("conversation.item.truncate")
        assert (truncate["item_id"], truncate["audio_end_ms"]) == ("item_1", 80)
        await caller.until_told("output_audio_buffer.cleared")
        await upstream.speak(3)
        await upstream.speak(1, "resp_2", "item_2")
        await caller.until(lambda: caller.kinds.count("output_audio_buffer.started") == 2)
        await caller.until(lambda: len(caller.audio) == 5)
        assert caller.clears == 1


async def test_a_frame_that_waited_for_credit_does_not_outlive_a_clear(
    upstream: UpstreamStandIn,
) -> None:
    """The clear gives credit back; only what comes after it is heard, and the counts are right."""
    async with calling(upstream.url, credit=5) as caller:
        await caller.until_told("session.created")
        await upstream.speak(10)
        await caller.until(lambda: len(caller.audio) == 5)
        caller.play(2)
        await upstream.say("input_audio_buffer.speech_started", item_id="i", audio_start_ms=0)
        await caller.until(lambda: caller.clears)
        caller.call.give_credit(5)
        await caller.until_told("output_audio_buffer.cleared")
        await upstream.speak(4, "resp_2", "item_2")
        await upstream.stop_speaking("resp_2", "item_2")
        await caller.until(lambda: len(caller.audio) == 6)
        caller.play(3)
        await upstream.say("input_audio_buffer.speech_started", item_id="i", audio_start_ms=0)
        cut = [await upstream.hear("conversation.item.truncate") for _ in range(2)]
    assert [(event["item_id"], event["audio_end_ms"]) for event in cut] == [
        ("item_1", 40),
        ("item_2", 60),
    ]


async def test_a_session_without_interruption_is_not_interrupted(
    upstream: UpstreamStandIn,
) -> None:
    """Where the voice must go on, it does; the caller's own clear still works and stays here."""
    off = {"turn_detection": {"type": "server_vad", "interrupt_response": False}}
    async with calling(upstream.url) as caller:
        await caller.until_told("session.created")
        await upstream.say("session.updated", session={"audio": {"input": off}})
        await upstream.speak(3)
        await caller.until(lambda: len(caller.audio) == 3)
        await upstream.say("input_audio_buffer.speech_started", item_id="i", audio_start_ms=0)
        await caller.until_told("input_audio_buffer.speech_started")
        assert caller.clears == 0
        caller.say(type="output_audio_buffer.clear")
        await caller.until_told("output_audio_buffer.cleared")
        caller.say(type="response.cancel")
        kinds: list[str] = []
        while not kinds or kinds[-1] != "response.cancel":
            kinds.append((await upstream.heard.get())["type"])
        assert "output_audio_buffer.clear" not in kinds
        assert "conversation.item.truncate" in kinds


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "upstream_unauthorized"),
        (403, "upstream_unauthorized"),
        (404, "upstream_refused"),
        (429, "upstream_rate_limited"),
        (500, "upstream_refused"),
    ],
)
async def test_an_upstream_that_refuses(upstream: UpstreamStandIn, status: int, code: str) -> None:
    """The caller is told by an error event, then the call ends."""
    upstream.refuse_with = status
    async with calling(upstream.url) as caller:
        assert (await caller.until_told("error"))["error"]["code"] == code
        await caller.until(lambda: caller.hang_ups == ["failed"])


async def test_nobody_there() -> None:
    """A port where nobody listens is unreachable."""
    async with calling(f"http://127.0.0.1:{free_port()}/v1") as caller:
        assert (await caller.until_told("error"))["error"]["code"] == "upstream_unreachable"


async def test_an_upstream_that_is_cut_off_and_gone(upstream: UpstreamStandIn) -> None:
    """In the middle of an answer too; the caller hears what came, is told, and the call ends."""
    async with calling(upstream.url) as caller:
        await caller.until_told("session.created")
        await upstream.speak(2)
        await caller.until(lambda: len(caller.audio) == 2)
        upstream.refuse_with = 401
        await upstream.cut()
        assert (await caller.until_told("error"))["error"]["code"] == "upstream_lost"
        await caller.until(lambda: caller.hang_ups == ["failed"])


async def test_hanging_up_leaves_the_upstream(upstream: UpstreamStandIn) -> None:
    """The session upstream ends with the call, also in the middle of an answer."""
    async with calling(upstream.url) as caller:
        await caller.until_told("session.created")
        await upstream.speak(50)
        await caller.until(lambda: caller.audio)
        caller.call.close("hangup")
        await upstream.left.wait()


async def test_a_flood_is_cancelled(
    upstream: UpstreamStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More sound than anybody would hear is not kept, and the response is cancelled."""
    monkeypatch.setattr(bridge, "MAX_WAITING_BYTES", 100 * len(FRAME))
    async with calling(upstream.url) as caller:
        await caller.until_told("session.created")
        for _ in range(8):
            await upstream.speak(99)
        await upstream.hear("response.cancel")
        caller.say(type="response.create")
        await upstream.hear("response.create")


async def test_what_is_no_event_is_answered_here(upstream: UpstreamStandIn) -> None:
    """Bad JSON of a caller does not reach an upstream that might hang up on it; nor its own us."""
    async with calling(upstream.url) as caller:
        await caller.until_told("session.created")
        caller.call.send_text(LABEL, "{")
        assert (await caller.until_told("error"))["error"]["code"] == "invalid_json"
        for text in ("nonsense", "[]", '{"type":"response.output_audio.delta","delta":"?"}'):
            await upstream.say_text(text)
        await upstream.say("response.done", response={})
        await caller.until_told("response.done")
        assert not caller.audio


@pytest.mark.parametrize("kind", ["trunkline.client_report", "trunkline."])
async def test_events_of_ours_end_here(upstream: UpstreamStandIn, kind: str) -> None:
    """A foreign API does not know them: refused by the event's id, as it would, and not sent up."""
    async with calling(upstream.url) as caller:
        await caller.until_told("session.created")
        caller.say(type=kind, event_id="mine", turn=1, rtt_ms=20)
        error = (await caller.until_told("error"))["error"]
        assert (error["code"], error["param"]) == ("invalid_value", "type")
        assert error["event_id"] == "mine"
        caller.say(type="response.create")
        passed = [(await upstream.heard.get())["type"] for _ in range(2)]
        assert passed == ["session.update", "response.create"]


MCP = {"type": "mcp", "server_label": "s", "server_url": "https://elsewhere.example"}
SPENDING = (
    {"type": "session.update", "session": {"tools": [MCP]}},
    {"type": "response.create", "response": {"prompt": {"id": "pmpt_1"}}},
    {"type": "conversation.item.create", "item": {"type": "mcp_approval_response"}},
    {"type": "an.event.of.tomorrow"},
)


@pytest.mark.parametrize("event", SPENDING, ids=lambda event: event["type"])
def test_a_page_spends_nothing_under_the_operators_key(event: dict[str, Any]) -> None:
    """It is told so, and nothing goes up; its server may say the same on a side band."""
    translator = Translator(Page(DEFAULT, ""))
    (action,) = translator.from_caller(json.dumps({**event, "event_id": "mine"}))
    assert isinstance(action, ToCaller)
    error = json.loads(action.text)["error"]
    assert (error["code"], error["event_id"]) == ("not_allowed_for_page", "mine")
    for allowed in (
        translator.from_caller(json.dumps(event), from_server=True),
        Translator().from_caller(json.dumps(event)),
    ):
        assert isinstance(allowed[0], ToUpstream)


def test_what_a_browser_client_sends_unasked_is_left_out() -> None:
    """Tracing and model go no further, and nobody is told off for them."""
    session = {"type": "realtime", "tracing": "auto", "model": "m", "instructions": "x"}
    event = {"type": "session.update", "session": session}
    (action,) = Translator(Page(DEFAULT, "")).from_caller(json.dumps(event))
    assert isinstance(action, ToUpstream)
    sent = json.loads(action.text)["session"]
    assert sent["instructions"] == "x"
    assert not {"tracing", "model"} & set(sent)


@given(st.text() | st.from_regex(r'\{"type": ?"[a-z_.]+", "[a-z_]+": ?[0-9\[\]{}"]{0,6}\}'))
def test_any_text_is_translated(text: str) -> None:
    """Neither side can make the translator raise."""
    translator = Translator()
    translator.opening(text)
    for action in [*translator.from_caller(text), *translator.from_upstream(text)]:
        assert isinstance(action, ToUpstream | ToCaller | Sound | Silence)


@pytest.mark.parametrize("kind", [[], {}, {"id": "r"}, 1, None])
def test_an_upstream_event_whose_type_is_no_name_is_passed_on(kind: object) -> None:
    """It is not ours to judge, and nothing is looked up by it."""
    text = json.dumps({"type": kind})
    assert Translator().from_upstream(text) == [ToCaller(text)]


@pytest.mark.parametrize("member", ["type", "event_id"])
def test_half_a_surrogate_pair_is_no_json_for_us(member: str) -> None:
    """No text can hold one, so an answer that repeats it could not be sent."""
    event = {"type": "trunkline.x", member: "trunkline.\ud800"}
    (action,) = Translator().from_caller(json.dumps(event))
    assert isinstance(action, ToCaller)
    assert json.loads(action.text)["error"]["code"] == "invalid_json"


def test_an_item_that_paused_is_cut_where_it_was_heard() -> None:
    """Frames that had all left before more of the item came count as heard."""
    played = Played()
    for _ in range(3):
        played.sent("a")
    assert played.settle(3)
    for _ in range(4):
        played.sent("a")
    assert played.cut(5) == {"a": 100}
