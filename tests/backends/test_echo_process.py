"""`python -m backends.echo` as an operator meets it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from backends.settings import EchoSettings
from tests.backends.kit import TIMEOUT_S, audio, linked, open_call, raw_transceiver
from tests.conftest import free_port
from trunkline.backend.events import AudioFormat


def _run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backends.echo", *arguments],
        env={**os.environ, "TRUNKLINE_BACKEND_ADMIN": "127.0.0.1:0", **variables},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def _listening(port: int) -> dict[str, str]:
    listen = f"127.0.0.1:{port}"
    own = {"TRUNKLINE_BACKEND_LISTEN": listen, "TRUNKLINE_BACKEND_ADMIN": "127.0.0.1:0"}
    own["TRUNKLINE_BACKEND_DRAIN_S"] = "0"
    return {**os.environ, **own}


def test_help_lists_the_variables() -> None:
    """--help names every variable with its default."""
    result = _run("--help")
    assert result.returncode == 0
    assert "TRUNKLINE_BACKEND_LISTEN (default 127.0.0.1:9301)" in result.stdout
    assert "TRUNKLINE_LOG_LEVEL" in result.stdout


def test_a_bad_setting() -> None:
    """One line that names the variable, and exit status 2."""
    result = _run(TRUNKLINE_BACKEND_LISTEN="nonsense")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "TRUNKLINE_BACKEND_LISTEN" in result.stderr


@pytest.mark.parametrize("value", ["mp3", "opus,", "pcm16_11025", "5"])
def test_a_bad_audio_format(value: str) -> None:
    """One line that names the variable and the formats there are, and exit status 2."""
    result = _run(TRUNKLINE_BACKEND_ACCEPTS=value)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "TRUNKLINE_BACKEND_ACCEPTS" in result.stderr
    assert "pcm16_16000" in result.stderr


def test_formats_are_read_in_order_and_once() -> None:
    """The first format is the one the backend prefers; naming one twice changes nothing."""
    settings = EchoSettings(backend_accepts="pcm16_16000, OPUS,pcm16_16000")
    assert settings.backend_accepts == (AudioFormat.PCM16_16000, AudioFormat.OPUS)


def test_a_port_already_taken() -> None:
    """One line that names the address, and exit status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = _run(TRUNKLINE_BACKEND_LISTEN=address)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert address in result.stderr


def test_an_admin_port_already_taken() -> None:
    """It is found out before the backend serves, in one line with the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = _run(TRUNKLINE_BACKEND_LISTEN="127.0.0.1:0", TRUNKLINE_BACKEND_ADMIN=address)
    assert (result.returncode, result.stderr) == (
        1,
        f"cannot start: {address} is in use by another process\n",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    """With a call on the line it still exits 0, and prints no traceback."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backends.echo"),
        env=_listening(port),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with linked(port) as link:
            handle, sink = await open_call(link)
            handle.send_audio(b"x", 0, 960)
            await sink.until(lambda: sink.audio)
            process.send_signal(number)
            await sink.until(lambda: sink.hang_ups)
            assert sink.hang_ups == ["drained"]
            _, stderr = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    assert b"Traceback" not in stderr
    assert b"backend_ready" in stderr


async def test_a_transceiver_that_dies_leaves_the_backend_serving() -> None:
    """After an abrupt end of one stream the next one is served by the same process."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backends.echo"),
        env=_listening(port),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with linked(port):
            pass
        async with raw_transceiver(port) as transceiver:
            await transceiver.greet()
            await transceiver.start()
            await transceiver.send(audio(1))
            assert await transceiver.hear_kinds(2) == [(1, "accepted"), (1, "audio")]
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), TIMEOUT_S) == 0
