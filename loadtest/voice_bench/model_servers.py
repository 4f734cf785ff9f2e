"""Models that take no time, behind the HTTP APIs of real ones; a program of its own.

    POST /v1/audio/transcriptions   reads the WAV file, says TRANSCRIPT
    POST /v1/chat/completions       says ANSWER, a chunk a word (server-sent events)
    POST /v1/audio/speech           a tone as long as the words would take, as raw PCM in pieces

A process of its own, as a model server is: what it takes is on the clock, and not in anybody's
event loop. It says where it is in its first line, and ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import wave
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from aiohttp import web

from launcher import StartupError

TRANSCRIPT = "What is the best way to learn a language?"
ANSWER = "This is an instant answer. It took no time to think of."
RATE_HZ = 24_000  # of /audio/speech with `response_format` pcm
MS_PER_WORD = 300
TONE_HZ, TONE_PEAK = 440, 8000
PIECE_BYTES = 9600  # 200 ms
MAX_BODY_BYTES = 16 * 1024 * 1024
START_S = 20.0


async def transcribe(request: web.Request) -> web.Response:
    """Read all of the sound, as a model must, and say TRANSCRIPT."""
    form = await request.post()
    sound = form["file"]
    if not isinstance(sound, web.FileField):
        raise web.HTTPBadRequest
    with wave.open(io.BytesIO(sound.file.read())) as wav:
        wav.readframes(wav.getnframes())
    return web.json_response({"text": TRANSCRIPT})


async def chat(request: web.Request) -> web.StreamResponse:
    """ANSWER, word by word."""
    asked = await request.json()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for chunk in _chunks(asked["model"]):
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


async def speech(request: web.Request) -> web.StreamResponse:
    """A tone for the words."""
    asked = await request.json()
    pcm = _tone(len(asked["input"].split()))
    response = web.StreamResponse(headers={"Content-Type": "audio/pcm"})
    await response.prepare(request)
    for start in range(0, len(pcm), PIECE_BYTES):
        await response.write(pcm[start : start + PIECE_BYTES])
    return response


def application() -> web.Application:
    """The three of them."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.add_routes(
        [
            web.post("/v1/audio/transcriptions", transcribe),
            web.post("/v1/chat/completions", chat),
            web.post("/v1/audio/speech", speech),
        ]
    )
    return app


@asynccontextmanager
async def model_servers() -> AsyncIterator[dict[str, str]]:
    """The process, for the length of the block: settings of a pipeline that asks it.

    Raises StartupError when it does not start.
    """
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "loadtest.voice_bench.model_servers")
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin and process.stdout  # noqa: S101 - they are pipes
    try:
        async with asyncio.timeout(START_S):
            url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise StartupError("the model servers did not start")
        yield {f"TRUNKLINE_BACKEND_{stage}_URL": url for stage in ("STT", "LLM", "TTS")}
    except TimeoutError:
        raise StartupError("the model servers did not start") from None
    finally:
        process.stdin.close()
        await process.wait()


def _chunks(model: str) -> Iterator[Mapping[str, Any]]:
    words = ANSWER.split(" ")
    deltas: list[Mapping[str, Any]] = [{"content": f"{word} "} for word in words]
    for delta in ({"role": "assistant", "content": ""}, *deltas):
        yield _chunk(model, [{"index": 0, "delta": delta, "finish_reason": None}])
    yield _chunk(model, [{"index": 0, "delta": {}, "finish_reason": "stop"}])
    usage = {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": len(words) + 1}
    yield _chunk(model, [], usage=usage)


def _chunk(model: str, choices: list[Mapping[str, Any]], **more: Any) -> Mapping[str, Any]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    return {**head, "choices": choices, **more}


@lru_cache(maxsize=64)
def _tone(words: int) -> bytes:
    time_s = np.arange(words * MS_PER_WORD * RATE_HZ // 1000) / RATE_HZ
    return (TONE_PEAK * np.sin(2 * np.pi * TONE_HZ * time_s)).astype("<i2").tobytes()


async def _serve() -> None:
    runner = web.AppRunner(application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)  # until whoever started us has gone
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
