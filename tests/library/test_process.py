"""A backend's own program, from its start to its end, on the library alone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from launcher.variables import without
from tests.backends.kit import TIMEOUT_S, linked, open_call, until_absent
from tests.conftest import free_port

PROGRAM = """
from contextlib import asynccontextmanager
from trunkline.backend import Audio, Backend, StartupError, serve

async def echo(call):
    async for event in call.events():
        if isinstance(event, Audio):
            await call.send_audio(event.payload, event.duration)

@asynccontextmanager
async def models():
    {entered}
    yield
    print("models are gone", flush=True)

serve(Backend(echo, around=models))
"""


async def started(
    folder: Path, listen: str, entered: str = "pass", before: str = "", **variables: str
) -> asyncio.subprocess.Process:
    """The program with its address; `entered` runs before the first call."""
    (folder / "mine.py").write_text(before + PROGRAM.format(entered=entered))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "mine.py"),
        cwd=folder,
        env={**without(os.environ), "TRUNKLINE_BACKEND_LISTEN": listen, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    out, said = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    return process.returncode, out.decode(), said.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_it(number: signal.Signals, tmp_path: Path) -> None:
    """The call that is there goes on to its end; what stands around is left last; status 0."""
    port = free_port()
    process = await started(tmp_path, f"127.0.0.1:{port}", TRUNKLINE_BACKEND_DRAIN_S="3600")
    async with linked(port) as link:
        handle, sink = await open_call(link)
        process.send_signal(number)
        await until_absent(link)
        handle.send_audio(b"late", 0, 960)
        await sink.until(lambda: sink.audio)
        handle.close("hangup")
        status, out, said = await ended(process)
    assert (status, out) == (0, "models are gone\n")
    events = {line.split()[2] for line in said.splitlines()}
    assert events == {
        *("backend_ready", "transceiver_connected", "transceiver_gone"),
        *("drain_began", "drain_ended"),
    }


async def test_what_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    """A StartupError of `around`: status 1, and nothing was served."""
    failing = 'raise StartupError("no model in /models")'
    status, out, said = await ended(await started(tmp_path, "127.0.0.1:0", failing))
    assert (status, out, said) == (1, "", "cannot start: no model in /models\n")


async def test_a_taken_address_is_one_line(tmp_path: Path) -> None:
    """It names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, _, said = await ended(await started(tmp_path, address))
    assert (status, said) == (1, f"cannot start: {address} is in use by another process\n")


async def test_a_mistake_is_a_traceback(tmp_path: Path) -> None:
    """What is no StartupError is a bug of the author's, and shows where it is."""
    status, _, said = await ended(await started(tmp_path, "127.0.0.1:0", "1 / 0"))
    assert status == 1
    assert "ZeroDivisionError" in said
    assert "mine.py" in said


async def test_a_log_that_the_program_has_set_up_is_left_alone(tmp_path: Path) -> None:
    """Its own format is what is written."""
    entered = "__import__('logging').warning('mine'); raise StartupError('no')"
    own = "import logging\nlogging.basicConfig(format='OWN %(message)s')\n"
    process = await started(tmp_path, "127.0.0.1:0", entered, before=own)
    assert (await ended(process))[2] == "OWN mine\ncannot start: no\n"
