"""A server that speaks the three HTTP APIs, and misbehaves when told to.

It says what it is asked for in `requests`; `plan(path, …)` queues one misbehaviour for the next
request of a path, in order: a status with headers, `hang` (no answer), `cut` (the connection ends
after the first piece), `drop` (it ends before any answer).
"""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web

HEAR, THINK, SPEAK = "/v1/audio/transcriptions", "/v1/chat/completions", "/v1/audio/speech"
RATE_HZ = 24_000
Chunk = Mapping[str, Any]


@dataclass(frozen=True)
class Fault:
    """One misbehaviour."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: bool = False
    drop: bool = False


@dataclass
class Request:
    """What was asked: the JSON body or the form's fields, and the key."""

    body: dict[str, Any]
    key: str


def answer_of(*words: str) -> list[Chunk]:
    """An answer in these pieces, and how it ends."""
    pieces = [_delta({"content": word}) for word in words]
    return [_delta({"role": "assistant", "content": ""}), *pieces, _finish("stop"), USAGE]


def called(name: str, *arguments: str, call_id: str = "call_1") -> list[Chunk]:
    """A tool call whose arguments come in these pieces."""
    head = {"index": 0, "id": call_id, "type": "function", "function": {"name": name}}
    rest = [{"index": 0, "function": {"arguments": piece}} for piece in arguments]
    calls = [_delta({"tool_calls": [one]}) for one in (head, *rest)]
    return [*calls, _finish("tool_calls"), USAGE]


def _delta(delta: Mapping[str, Any]) -> Chunk:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _finish(reason: str) -> Chunk:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


USAGE: Chunk = {
    "choices": [],
    "usage": {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 8},
    },
}


class StandIn:
    """The server; `answers` decides what a chat request is answered."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: dict[str, list[Request]] = defaultdict(list)
        self.transcript = "What time is it?"
        self.answers: Callable[[dict[str, Any]], Sequence[Chunk]] = lambda _: answer_of(
            "It is ", "ten."
        )
        self.speech_type = "audio/pcm"
        self.ms_per_char = 20
        self.closed_early = asyncio.Event()  # a client left in the middle of an answer
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)

    def plan(self, path: str, **fault: Any) -> None:
        """Misbehave at the next request of a path that has no other plan."""
        self._faults[path].append(Fault(**fault))

    def app(self) -> web.Application:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.add_routes(
            [web.post(HEAR, self._hear), web.post(THINK, self._think), web.post(SPEAK, self._speak)]
        )
        return app

    async def _hear(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        sound = form["file"]
        assert isinstance(sound, web.FileField)
        with sound.file as file:
            content = file.read()
        with wave.open(io.BytesIO(content)) as wav:
            fields = {"rate_hz": wav.getframerate(), "frames": wav.getnframes()}
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
        return await self._answer(request, {**fields, **texts}, self._transcript)

    async def _think(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, await request.json(), self._stream)

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, await request.json(), self._sound)

    async def _answer(
        self, request: web.Request, body: dict[str, Any], usual: Callable[..., Any]
    ) -> web.StreamResponse:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.requests[request.path].append(Request(body, key))
        faults = self._faults[request.path]
        fault = faults.popleft() if faults else Fault()
        assert request.transport
        if fault.drop:
            request.transport.abort()
        if fault.hang:
            await asyncio.Event().wait()
        if fault.status != 200:
            error = {"error": {"message": "No.", "type": "x", "code": None}}
            return web.json_response(error, status=fault.status, headers=fault.headers)
        response: web.StreamResponse = await usual(request, body, fault.cut)
        return response

    async def _transcript(
        self, request: web.Request, body: dict[str, Any], cut: bool
    ) -> web.StreamResponse:
        del request, body, cut
        return web.json_response({"text": self.transcript})

    async def _stream(
        self, request: web.Request, body: dict[str, Any], cut: bool
    ) -> web.StreamResponse:
        lines = [f"data: {json.dumps(_whole(chunk))}\n\n" for chunk in self.answers(body)]
        pieces = [line.encode() for line in (*lines, "data: [DONE]\n\n")]
        return await self._send(request, "text/event-stream", pieces, cut)

    async def _sound(
        self, request: web.Request, body: dict[str, Any], cut: bool
    ) -> web.StreamResponse:
        samples = len(body["input"]) * self.ms_per_char * RATE_HZ // 1000
        tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(samples) / RATE_HZ)
        pcm = tone.astype("<i2").tobytes()
        # An odd length: a piece may end in the middle of a sample.
        pieces = [pcm[at : at + 4801] for at in range(0, len(pcm), 4801)]
        return await self._send(request, self.speech_type, pieces, cut)

    async def _send(
        self, request: web.Request, media_type: str, pieces: Sequence[bytes], cut: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": media_type})
        await response.prepare(request)
        try:
            for number, piece in enumerate(pieces):
                await response.write(piece)
                if cut and number == 1:
                    assert request.transport
                    request.transport.abort()
                    return response
                await asyncio.sleep(0)
        except (ConnectionError, asyncio.CancelledError):
            self.closed_early.set()
            raise
        return response


def _whole(chunk: Chunk) -> dict[str, Any]:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, **chunk}


@asynccontextmanager
async def stand_in() -> AsyncIterator[StandIn]:
    """A server on a free loopback port."""
    server = StandIn()
    runner = web.AppRunner(server.app(), shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()
