"""Models behind HTTP, against a server that speaks the protocol and sometimes does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from backends.agent.models import (
    BYTES_PER_MS,
    ChatEvent,
    ModelFailure,
    Stage,
    TextDelta,
    TokenUsage,
    ToolCall,
)
from backends.openai_pipeline import chat, hearing, speech
from backends.openai_pipeline.chat import HttpChat
from backends.openai_pipeline.hearing import HttpHearing, HttpSpeechToText
from backends.openai_pipeline.server import Endpoint, Server, retry_after_s
from backends.openai_pipeline.speech import HttpTextToSpeech
from tests.backends.openai.stand_in import (
    HEAR,
    SPEAK,
    THINK,
    StandIn,
    answer_of,
    called,
    stand_in,
)
from tests.conftest import free_port

SECOND = bytes(1000 * BYTES_PER_MS)
ASKED = [{"role": "user", "content": "What time is it?"}]


class Clock:
    """Time that stands still unless told."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """The three models on one stand-in."""

    def __init__(self, server: StandIn, timeout_s: float) -> None:
        self.server = server
        self.clock = Clock()
        self.servers: dict[str, Server] = {
            stage: self._server(stage, timeout_s) for stage in ("stt", "llm", "tts")
        }
        self.hear = HttpSpeechToText(self.servers["stt"], "en")
        self.think = HttpChat(self.servers["llm"])
        self.speak = HttpTextToSpeech(self.servers["tts"], "joe", ["amy"])

    def _server(self, stage: Any, timeout_s: float) -> Server:
        endpoint = Endpoint(self.server.url, SecretStr(f"key-{stage}"), f"m-{stage}", timeout_s)
        return Server(stage, endpoint, self.clock)

    async def ask(self, stage: str) -> object:
        """One request of a stage, to its end."""
        if stage == "stt":
            return await self.heard().text(final=True)
        if stage == "llm":
            return await self.answer()
        return await self.sound()

    def heard(self) -> HttpHearing:
        turn = self.hear.listen("call")
        turn.feed(SECOND)
        return turn

    async def answer(self, **options: Any) -> list[ChatEvent]:
        return [event async for event in self.think.stream("call", ASKED, **options)]

    async def sound(self, voice: str = "") -> bytes:
        return b"".join([piece async for piece in self.speak.speak("call", "Hello.", voice)])


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async for one in _bench(timeout_s=10.0):
        yield one


@pytest.fixture
async def hasty() -> AsyncIterator[Bench]:
    """The same, with no patience."""
    async for one in _bench(timeout_s=0.2):
        yield one


async def _bench(timeout_s: float) -> AsyncIterator[Bench]:
    async with stand_in() as server:
        bench = Bench(server, timeout_s)
        yield bench
        for one in bench.servers.values():
            await one.close()


async def _failure(asking: Any) -> ModelFailure:
    with pytest.raises(ModelFailure) as failed:
        await asking
    return failed.value


STAGES = [("stt", HEAR), ("llm", THINK), ("tts", SPEAK)]


async def test_a_turn_is_written_down(bench: Bench) -> None:
    """It goes as a 16 kHz WAV, with key, model and language; the words come back."""
    assert await bench.heard().text(final=True) == "What time is it?"
    (request,) = bench.server.requests[HEAR]
    assert request.key == "key-stt"
    expected = {"rate_hz": 16_000, "frames": 16_000, "model": "m-stt", "language": "en"}
    assert request.body.items() >= expected.items()


async def test_a_turn_without_sound_asks_nobody(bench: Bench) -> None:
    """A click is no speech."""
    turn = bench.hear.listen("call")
    turn.feed(bytes(99 * BYTES_PER_MS))
    assert await turn.text(final=True) == ""
    assert not bench.server.requests[HEAR]


async def test_a_turn_is_bounded(bench: Bench) -> None:
    """What is said beyond two minutes is not kept."""
    turn = bench.hear.listen("call")
    for _ in range(hearing.MAX_TURN_S + 5):
        turn.feed(SECOND)
    await turn.text(final=True)
    assert bench.server.requests[HEAR][0].body["frames"] == hearing.MAX_TURN_S * 16_000


async def test_a_partial_does_not_wait_behind_another(bench: Bench) -> None:
    """While a request runs, a partial one gets the older text at once."""
    turn = bench.heard()
    bench.server.plan(HEAR, hang=True)
    running = asyncio.ensure_future(turn.text(final=False))
    while not bench.server.requests[HEAR]:
        await asyncio.sleep(0.001)
    assert await turn.text(final=False) == ""
    running.cancel()
    await asyncio.wait([running])
    assert await turn.text(final=True) == "What time is it?"


async def test_an_answer_is_streamed(bench: Bench) -> None:
    """Words as they come, then the usage; limits and tools are sent as the API has them."""
    tools = [{"type": "function", "function": {"name": "get_time"}}]
    events = await bench.answer(tools=tools, max_tokens=50)
    assert events == [TextDelta("It is "), TextDelta("ten."), TokenUsage(12, 8, 3)]
    (request,) = bench.server.requests[THINK]
    assert request.key == "key-llm"
    assert request.body["messages"] == ASKED
    assert request.body["tools"] == tools
    assert request.body["max_tokens"] == 50
    assert request.body["stream_options"] == {"include_usage": True}


async def test_a_tool_call_comes_whole(bench: Bench) -> None:
    """Its arguments are put together from their pieces, and several calls keep their order."""
    second = [{"index": 1, "id": "b", "function": {"name": "f", "arguments": "{}"}}]
    first = called("get_time", '{"zone":', ' "UTC"}', call_id="a")
    also = {"choices": [{"index": 0, "delta": {"tool_calls": second}, "finish_reason": None}]}
    bench.server.answers = lambda _: [*first[:1], also, *first[1:]]
    assert (await bench.answer())[:2] == [
        ToolCall("a", "get_time", '{"zone": "UTC"}'),
        ToolCall("b", "f", "{}"),
    ]


async def test_leaving_an_answer_ends_it_at_the_server(bench: Bench) -> None:
    """An interrupted answer costs nothing more."""
    bench.server.answers = lambda _: answer_of(*["word " * 2000] * 1000)
    async with aclosing(bench.think.stream("call", ASKED)) as events:  # type: ignore[type-var]
        async for _ in events:
            break
    await asyncio.wait_for(bench.server.closed_early.wait(), 10)


async def test_openai_itself_is_told_the_limit_by_its_newer_name() -> None:
    """Their newer models refuse max_tokens."""
    server = Server("llm", Endpoint("https://api.openai.com/v1", SecretStr("k"), "m"))
    assert HttpChat(server)._limit_name == "max_completion_tokens"
    await server.close()


async def test_a_clause_is_spoken(bench: Bench) -> None:
    """24 kHz in pieces of any length come out as 16 kHz, of the same length, in the right voice."""
    sound = await bench.sound()
    asked_ms = len("Hello.") * bench.server.ms_per_char
    assert abs(len(sound) / BYTES_PER_MS - asked_ms) < 2
    await bench.sound("amy")
    await bench.sound("somebody")
    assert [request.body["voice"] for request in bench.server.requests[SPEAK]] == [
        "joe",
        "amy",
        "joe",
    ]
    assert bench.server.requests[SPEAK][0].body["response_format"] == "pcm"


@pytest.mark.parametrize("media_type", ["audio/mpeg", "application/json"])
async def test_sound_that_is_no_pcm_is_not_played(bench: Bench, media_type: str) -> None:
    """A server that did not understand would be heard as noise."""
    bench.server.speech_type = media_type
    assert (await _failure(bench.sound())).reason == "not_pcm"


@pytest.mark.parametrize(("stage", "path"), STAGES)
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "refused"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "refused"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
async def test_refusals_have_names(
    bench: Bench, stage: Stage, path: str, status: int, reason: str
) -> None:
    """One request, one failure; nothing is tried again behind a caller's back."""
    bench.server.plan(path, status=status)
    failure = await _failure(bench.ask(stage))
    assert (failure.stage, failure.reason) == (stage, reason)
    assert len(bench.server.requests[path]) == 1


@pytest.mark.parametrize(("stage", "path"), STAGES)
async def test_a_busy_server_is_left_alone_as_long_as_it_asks(
    bench: Bench, stage: Stage, path: str
) -> None:
    """After 429 with Retry-After nothing is sent there until then."""
    bench.server.plan(path, status=429, headers={"Retry-After": "7"})
    failure = await _failure(bench.ask(stage))
    assert (failure.reason, failure.retry_after_s) == ("rate_limited", 7.0)
    bench.clock.now_s += 5
    again = await _failure(bench.ask(stage))
    assert (again.reason, again.retry_after_s) == ("rate_limited", 2.0)
    assert len(bench.server.requests[path]) == 1
    bench.clock.now_s += 2
    assert await bench.ask(stage)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("", 1.0),
        ("soon", 1.0),
        ("-3", 1.0),
        ("9" * 400, float("inf")),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_in_all_its_forms(value: str, seconds: float) -> None:
    """Seconds, a date, or nothing that can be read."""
    assert retry_after_s(value) == seconds


@pytest.mark.parametrize(("stage", "path"), STAGES)
async def test_a_server_that_says_nothing_is_given_up(
    hasty: Bench, stage: Stage, path: str
) -> None:
    """No answer within the time-out is a failure, and is not asked for again."""
    hasty.server.plan(path, hang=True)
    assert (await _failure(hasty.ask(stage))).reason == "timeout"
    assert len(hasty.server.requests[path]) == 1


@pytest.mark.parametrize(("stage", "path"), STAGES)
async def test_a_connection_that_was_dead_is_tried_once_more(
    bench: Bench, stage: Stage, path: str
) -> None:
    """Once is unnoticed, twice is a failure."""
    bench.server.plan(path, drop=True)
    assert await bench.ask(stage)
    bench.server.plan(path, drop=True)
    bench.server.plan(path, drop=True)
    assert (await _failure(bench.ask(stage))).reason == "unreachable"


@pytest.mark.parametrize(("stage", "path"), STAGES[1:])
async def test_an_answer_that_ends_in_the_middle(bench: Bench, stage: Stage, path: str) -> None:
    """What came is not taken for all there was."""
    bench.server.plan(path, cut=True)
    bench.server.ms_per_char = 1000
    assert (await _failure(bench.ask(stage))).reason == "cut_off"


async def test_a_stream_without_an_end_was_cut(bench: Bench) -> None:
    """A connection that is closed in good order before the answer has finished, too."""
    bench.server.answers = lambda _: answer_of("It is ")[:2]
    assert (await _failure(bench.answer())).reason == "cut_off"


async def test_an_error_inside_a_stream(bench: Bench) -> None:
    """A server that fails after it began says so in the stream."""
    error: dict[str, Any] = {"error": {"message": "overloaded", "type": "server_error"}}
    bench.server.answers = lambda _: [*answer_of("It is ")[:2], error]
    assert (await _failure(bench.answer())).reason == "server_error"


async def test_floods_are_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless words and endless sound are failures, whoever sends them."""
    monkeypatch.setattr(chat, "MAX_ANSWER_CHARS", 10)
    monkeypatch.setattr(speech, "MAX_CLAUSE_S", 1)
    bench.server.answers = lambda _: answer_of("endless ", "words ")
    assert (await _failure(bench.answer())).reason == "overlong"
    bench.server.ms_per_char = 1000
    assert (await _failure(bench.sound())).reason == "overlong"


async def test_nobody_there(bench: Bench) -> None:
    """A port where nobody listens is unreachable at once."""
    endpoint = Endpoint(f"http://127.0.0.1:{free_port()}/v1", SecretStr(""), "m")
    server = Server("llm", endpoint)
    stream = HttpChat(server).stream("call", ASKED)
    assert (await _failure(anext(aiter(stream)))).reason == "unreachable"
    await server.close()


@pytest.mark.parametrize("text", ['{"words": 1}', '{"text": null}', "not JSON", "[]"])
async def test_a_transcript_that_is_none(text: str) -> None:
    """An answer of another shape is malformed, whatever its status."""

    async def odd(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    app = web.Application()
    app.add_routes([web.post(HEAR, odd)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    server = Server("stt", Endpoint(url, SecretStr(""), "m"))
    turn = HttpSpeechToText(server).listen("call")
    turn.feed(SECOND)
    assert (await _failure(turn.text(final=True))).reason == "malformed"
    await server.close()
    await runner.cleanup()


def test_a_failure_quotes_nothing() -> None:
    """Keys and words of servers stay out of what is logged."""
    endpoint = Endpoint("http://x/v1", SecretStr("very-secret"), "m")
    assert "very-secret" not in repr(endpoint)
    assert json.dumps(str(ModelFailure("llm", "refused"))) == '"llm: refused"'
