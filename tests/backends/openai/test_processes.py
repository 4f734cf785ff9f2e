"""`python -m backends.openai_pipeline` and `…openai_realtime` as an operator meets them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.backends.kit import TIMEOUT_S, Sink, linked
from tests.backends.openai.stand_in import HEAR, SPEAK, THINK, stand_in
from tests.backends.openai.upstream_stand_in import upstream_stand_in
from tests.conftest import free_port
from trunkline.backend.events import AudioFormat

PIPELINE, REALTIME = "backends.openai_pipeline", "backends.openai_realtime"
SECRET = "sk-very-secret"


def _run(module: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@asynccontextmanager
async def _running(module: str, **variables: str) -> AsyncIterator[int]:
    """The process; ended by SIGTERM, it must exit 0 and have printed no traceback and no key."""
    port = free_port()
    variables["TRUNKLINE_BACKEND_LISTEN"] = f"127.0.0.1:{port}"
    variables["TRUNKLINE_BACKEND_ADMIN"] = "127.0.0.1:0"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        env={**os.environ, **variables},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield port
        process.terminate()
        _, stderr = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    assert b"Traceback" not in stderr
    assert SECRET.encode() not in stderr


@pytest.mark.parametrize(
    ("module", "variable"),
    [(PIPELINE, "TRUNKLINE_BACKEND_LLM_URL"), (REALTIME, "TRUNKLINE_BACKEND_REALTIME_URL")],
)
def test_help_lists_the_variables(module: str, variable: str) -> None:
    """--help names every variable with its default."""
    result = _run(module, "--help")
    assert result.returncode == 0
    assert f"{variable} (default https://api.openai.com/v1)" in result.stdout


@pytest.mark.parametrize(
    ("module", "variable", "value"),
    [
        (PIPELINE, "TRUNKLINE_BACKEND_STT_URL", "localhost:8000"),
        (PIPELINE, "TRUNKLINE_BACKEND_LLM_URL", f"https://{SECRET}@host/v1"),
        (PIPELINE, "TRUNKLINE_BACKEND_TTS_URL", "ftp://host/v1"),
        (PIPELINE, "TRUNKLINE_BACKEND_TTS_RATE_HZ", "44"),
        (PIPELINE, "TRUNKLINE_BACKEND_TTS_VOICES", "joe,,amy"),
        (PIPELINE, "TRUNKLINE_BACKEND_MODEL_TIMEOUT_S", "0"),
        (REALTIME, "TRUNKLINE_BACKEND_REALTIME_URL", "https://host:0/v1"),
        (REALTIME, "TRUNKLINE_BACKEND_MAX_CALLS", "many"),
    ],
)
def test_a_bad_setting(module: str, variable: str, value: str) -> None:
    """One line that names the variable and quotes no secret, and exit status 2."""
    result = _run(module, **{variable: value})
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert variable in result.stderr
    assert SECRET not in result.stderr


async def test_the_pipeline_speaks_over_its_three_servers() -> None:
    """Written words are answered aloud, with each server's own key."""
    async with stand_in() as models:
        variables = {
            f"TRUNKLINE_BACKEND_{stage}_{what}": value
            for stage in ("STT", "LLM", "TTS")
            for what, value in (("URL", models.url), ("KEY", f"{SECRET}-{stage}"))
        }
        async with _running(PIPELINE, **variables) as port, linked(port) as link:
            sink = Sink()
            pcm = AudioFormat.PCM16_16000.value
            call = link.open_call("call_1", "", sink, 500, 0, pcm)
            await call.accepted(TIMEOUT_S)
            content = [{"type": "input_text", "text": "What time is it?"}]
            item = {"type": "message", "role": "user", "content": content}
            call.send_text(
                "oai-events", json.dumps({"type": "conversation.item.create", "item": item})
            )
            call.send_text("oai-events", '{"type":"response.create"}')
            await sink.until(lambda: "response.done" in str(sink.data))
            await sink.until(lambda: sink.audio)
        assert not models.requests[HEAR]
        assert models.requests[THINK][0].key == f"{SECRET}-LLM"
        assert models.requests[SPEAK][0].key == f"{SECRET}-TTS"


async def test_the_bridge_leaves_its_upstream_when_it_ends() -> None:
    """A call on the line is no reason to hang, and the upstream sees its session close."""
    async with upstream_stand_in() as upstream:
        variables = {
            "TRUNKLINE_BACKEND_REALTIME_URL": upstream.url,
            "TRUNKLINE_BACKEND_REALTIME_KEY": SECRET,
        }
        async with _running(REALTIME, **variables) as port, linked(port) as link:
            sink = Sink()
            pcm = AudioFormat.PCM16_24000.value
            call = link.open_call("call_1", "", sink, 500, 0, pcm)
            await call.accepted(TIMEOUT_S)
            await sink.until(lambda: "session.created" in str(sink.data))
            call.close("hangup")
            await asyncio.wait_for(upstream.left.wait(), TIMEOUT_S)
        assert upstream.keys == [f"Bearer {SECRET}"]
