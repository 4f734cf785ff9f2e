from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from launcher.__main__ import main
from launcher.addresses import free_ports
from launcher.backend_choice import BACKENDS, BackendChoice
from launcher.variables import without
from tests.launcher.launcher_stand_ins import is_alive

ROW = re.compile(r"^  (redis|backend|relay|transceiver|records) +(\d+) ", re.MULTILINE)
STORES = tempfile.TemporaryDirectory(prefix="trunkline-records-")
CONSOLE = re.compile(r"Open (http://\S+) and")


def environment(**variables: str) -> dict[str, str]:
    """Return an environment in which every port of the stack is free, but for what is given."""
    relay, http, relay_admin, metrics, transceiver_admin, backend, backend_admin, *records = (
        free_ports(9)
    )
    store = Path(STORES.name) / f"{records[0]}.db"
    return {
        **without(os.environ),
        "TRUNKLINE_RELAY_PORT": str(relay),
        "TRUNKLINE_RELAY_ADMIN": f"127.0.0.1:{relay_admin}",
        "TRUNKLINE_RELAY_METRICS": f"127.0.0.1:{metrics}",
        "TRUNKLINE_TRANSCEIVER_HTTP": f"127.0.0.1:{http}",
        "TRUNKLINE_TRANSCEIVER_ADMIN": f"127.0.0.1:{transceiver_admin}",
        "TRUNKLINE_BACKEND_LISTEN": f"127.0.0.1:{backend}",
        "TRUNKLINE_BACKEND_ADMIN": f"127.0.0.1:{backend_admin}",
        "TRUNKLINE_RECORDS_ADMIN": f"127.0.0.1:{records[0]}",
        "TRUNKLINE_RECORDS_METRICS": f"127.0.0.1:{records[1]}",
        "TRUNKLINE_RECORDS_STORE": f"sqlite:///{store}",
        **variables,
    }


@asynccontextmanager
async def launched(
    environ: dict[str, str], backend: str = "echo"
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m launcher`; it is killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "launcher", "--backend", backend),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def shown_until_open(process: asyncio.subprocess.Process) -> str:
    """Return what the launcher prints up to the line with the address to open."""
    assert process.stdout is not None
    shown = ""
    while not CONSOLE.search(shown):
        line = await process.stdout.readline()
        if not line:
            _, errors = await process.communicate()
            pytest.fail(errors.decode())
        shown += line.decode()
    return shown


def test_help_and_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """--help is exit status 0 on stdout; anything else is exit status 2 on stderr."""
    for arguments, status in ((["--help"], 0), (["--port"], 2)):
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == status
        shown = capsys.readouterr()
        assert "usage" in (shown.err if status else shown.out)


def test_a_backend_without_its_packages_says_which(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line names the package and the two ways out; nothing is started."""
    choice = BackendChoice("backends.none", "nothing", needs=("json", "no_such_package"))
    monkeypatch.setitem(BACKENDS, "voice", choice)
    assert main([]) == 1
    assert capsys.readouterr().err == (
        "backend: the voice backend needs the package no_such_package: run "
        "`make run BACKEND=voice`, or talk to the echo: `make run BACKEND=echo`\n"
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("none", "none is none of voice, openai_pipeline, openai_realtime, echo, and not"),
        (":echo", ":echo is none of"),
        ("nowhere/mine.py:echo", "there is no file nowhere/mine.py"),
    ],
)
def test_a_backend_that_is_none(name: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what can be given; nothing is started."""
    assert main(["--backend", name]) == 1
    [complaint] = capsys.readouterr().err.splitlines()
    assert complaint.startswith(f"backend: {line}")


async def test_a_backend_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    """What is wrong in the author's file is the launcher's last word; everything has ended."""
    file = tmp_path / "mine.py"
    file.write_text("async def echo(call):\n    pass\n\n\nechoes = undefined\n")
    async with launched(environment(), backend=f"{file}:echo") as process:
        out, errors = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    last = errors.decode().splitlines()[-1]
    assert last.startswith(f"backend: cannot load {file}:echo: NameError: name 'undefined'")
    assert f"{file}:5" in last


async def test_a_taken_port_is_one_line_and_exit_status_1() -> None:
    """Nothing is started and nothing else is printed when the relay's port is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        async with launched(environment(TRUNKLINE_RELAY_PORT=str(port))) as process:
            out, errors = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert errors.decode() == f"relay: UDP port {port} is already taken\n"


async def test_a_bad_setting_is_one_line_and_exit_status_1() -> None:
    """The line names the variable and the rule."""
    async with launched(environment(TRUNKLINE_RELAY_PORT="stun")) as process:
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode() == "TRUNKLINE_RELAY_PORT: stun is not a port (0 to 65535)\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_whole_stack_comes_up_and_ends(number: signal.Signals) -> None:
    """The table names every part, the console answers, and a signal ends everything with 0."""
    async with launched(environment()) as process:
        shown = await shown_until_open(process)
        pids = {name: int(pid) for name, pid in ROW.findall(shown)}
        assert set(pids) == {"redis", "backend", "relay", "transceiver", "records"}
        assert all(map(is_alive, pids.values()))
        url = CONSOLE.findall(shown)[0]
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 200
        process.send_signal(number)
        await process.communicate()
    assert process.returncode == 0
    assert not any(map(is_alive, pids.values()))


async def test_ctrl_c_ends_all_when_a_part_has_crashed() -> None:
    """A killed part does not keep the launcher from ending the others."""
    async with launched(environment()) as process:
        shown = await shown_until_open(process)
        pids = {name: int(pid) for name, pid in ROW.findall(shown)}
        os.kill(pids["backend"], signal.SIGKILL)
        assert process.stderr is not None
        while b"backend died: killed by SIGKILL" not in await process.stderr.readline():
            assert not process.stderr.at_eof()
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 0
    assert not any(map(is_alive, pids.values()))
