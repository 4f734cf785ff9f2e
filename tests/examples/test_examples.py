"""Every example as its author runs it: `make run BACKEND=examples/…`, and a stock client calls."""

from __future__ import annotations

import ast
import io
import json
import os
import signal
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from launcher import Stack, StackSettings
from tests.conftest import free_port
from tests.examples.caller import RATE_HZ, calling, pitch_hz, tone

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SILENCE = np.zeros(0, np.int16)


@asynccontextmanager
async def running(name: str) -> AsyncIterator[Stack]:
    """A stack whose backend is an example, FILE.py:NAME."""
    variables = {"TRUNKLINE_LOG_LEVEL": "warning", "TRUNKLINE_RELAY_WORKERS": "1"}
    variables["TRUNKLINE_TRANSCEIVER_BACKEND_RESTORE_S"] = "120"  # for a machine that is busy
    async with Stack(
        StackSettings(variables, backend=f"{EXAMPLES}/{name}", ready_timeout_s=60)
    ) as stack:
        yield stack
        assert not [line for line in stack.log.lines if "Traceback" in line]


async def test_tone() -> None:
    """The caller hears 440 Hz for as long as it listens."""
    async with running("tone.py:tone") as stack, calling(stack, SILENCE) as caller:
        await caller.until(lambda: len(caller.heard) > 2 * RATE_HZ)
        assert pitch_hz(caller.heard[RATE_HZ:]) == pytest.approx(440, abs=2)


async def test_delayed_echo() -> None:
    """What the caller says comes back, after it has said at least a second more."""
    example = running("delayed_echo.py:delayed_echo")
    async with example as stack, calling(stack, tone(10, 600)) as caller:
        await caller.until(lambda: len(caller.heard) > 2 * RATE_HZ)
        assert pitch_hz(caller.heard[RATE_HZ:]) == pytest.approx(600, abs=2)
        assert caller.said_frames_at_first_sound >= 50


async def test_greeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole WAV is heard, at its own rate; then the backend hangs up."""
    file = tmp_path / "hello.wav"
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, 24_000, 0, "NONE", ""))
        out.writeframes(tone(3)[::2].tobytes())
    monkeypatch.setenv("GREETING", str(file))
    async with running("greeting.py:greeting") as stack, calling(stack, SILENCE) as caller:
        await caller.until(lambda: caller.state == "closed")
        loud = np.abs(caller.heard) > 1000
        assert 2.5 * RATE_HZ < np.flatnonzero(loud)[-1] - np.flatnonzero(loud)[0] < 3.5 * RATE_HZ


async def test_tool() -> None:
    """A message runs a tool, another's mistake is told, and the echo goes on."""
    async with running("tool.py:helper") as stack, calling(stack, tone(20, 500)) as caller:
        await caller.until(lambda: caller.channel.readyState == "open")
        caller.channel.send(json.dumps({"tool": "add", "arguments": {"a": 2, "b": 3}}))
        caller.channel.send("nonsense")
        caller.channel.send(json.dumps({"tool": "fly"}))
        await caller.until(lambda: len(caller.messages) == 3)
        answers = {json.loads(text)["tool"]: json.loads(text) for text in caller.messages}
        assert answers["add"] == {"tool": "add", "answer": 5}
        assert "error" in answers[None]
        assert "error" in answers["fly"]
        before = len(caller.heard)
        await caller.until(lambda: len(caller.heard) > before + RATE_HZ)
        assert pitch_hz(caller.heard[before:]) == pytest.approx(500, abs=2)


async def test_notes() -> None:
    """Killed in the middle of a call, the backend comes back, and so do the notes."""
    async with running("notes.py:notes") as stack, calling(stack, tone(60, 500)) as caller:
        await caller.until(lambda: caller.channel.readyState == "open")
        for number, note in enumerate(("milk", "bread"), start=1):
            caller.channel.send(json.dumps({"note": note}))
            await caller.until(lambda number=number: len(caller.messages) == number)  # type: ignore[misc]
        backend = stack.parts["backend"]
        killed = backend.pid
        os.kill(killed, signal.SIGKILL)
        await caller.until(lambda: backend.running and backend.pid != killed)  # its echo is heard
        caller.channel.send(json.dumps({"note": "tea"}))
        await caller.until(lambda: len(caller.messages) == 3)
        assert json.loads(caller.messages[2]) == {"notes": ["milk", "bread", "tea"]}
        before = len(caller.heard)
        await caller.until(lambda: len(caller.heard) > before + RATE_HZ)
        assert pitch_hz(caller.heard[before:]) == pytest.approx(500, abs=2)
        assert caller.state == "connected"


class Models:
    """Three models behind one server: what they were asked, and their answers."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.messages: list[list[dict[str, str]]] = []
        self.spoken: list[str] = []

    async def transcribe(self, request: web.Request) -> web.Response:
        form = await request.post()
        upload = form["file"]
        assert isinstance(upload, web.FileField)
        self.heard.append(upload.file.read())
        return web.json_response({"text": "hello there"})

    async def chat(self, request: web.Request) -> web.Response:
        self.messages.append((await request.json())["messages"])
        message = {"role": "assistant", "content": "And to you."}
        return web.json_response({"choices": [{"message": message}]})

    async def speech(self, request: web.Request) -> web.Response:
        self.spoken.append((await request.json())["input"])
        return web.Response(body=tone(2, 700)[::2].tobytes())


@asynccontextmanager
async def models() -> AsyncIterator[tuple[Models, str]]:
    """Served on a free port."""
    behind, port = Models(), free_port()
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/v1/audio/transcriptions", behind.transcribe)
    app.router.add_post("/v1/chat/completions", behind.chat)
    app.router.add_post("/v1/audio/speech", behind.speech)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield behind, f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()


async def test_own_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn goes through the three models, and the caller hears the answer."""
    async with models() as (behind, url):
        monkeypatch.setenv("MODELS_URL", url)
        example = running("own_models.py:agent")
        async with example as stack, calling(stack, tone(1.5, 500)) as caller:
            await caller.until(lambda: np.abs(caller.heard[-RATE_HZ:]).max(initial=0) > 4000)
            before = len(caller.heard)
            await caller.until(lambda: len(caller.heard) > before + RATE_HZ)
            assert pitch_hz(caller.heard[before:]) == pytest.approx(700, abs=5)
    [content] = behind.heard
    with wave.open(io.BytesIO(content)) as turn:
        assert turn.getparams()[:3] == (1, 2, 24_000)
        assert 24_000 < turn.getnframes() < 3 * 24_000
    assert behind.messages[0][-1] == {"role": "user", "content": "hello there"}
    assert behind.spoken == ["And to you."]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_small_and_say_how_to_run_them(path: Path) -> None:
    """It needs the library alone, is short, and its command is the one that is tested."""
    source = path.read_text()
    modules = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom | ast.Import)
    }
    assert {name for name in modules if name.startswith("trunkline")} == {"trunkline.backend"}
    assert len(source.splitlines()) <= 130
    assert f"make run BACKEND=examples/{path.name}:" in source
    assert f'"{path.name}:' in Path(__file__).read_text()
