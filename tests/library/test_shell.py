"""The shell of every process, tried on real processes and real signals."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fleet.errors import AddressInUse, StoreUnavailable
from trunkline.process.shell import STOP_SIGNALS, run

PROGRAM = """
import asyncio, sys
from trunkline.process.shell import run

async def main(stop):
    print(type(asyncio.get_running_loop()).__module__, flush=True)
    await stop.wait()
    print("goodbye", flush=True)

sys.exit(run(main))
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=-1, stderr=-1, text=True) as it:
        yield it
        it.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(process: subprocess.Popen[str], number: int) -> None:
    """Exit 0, the rest of main runs, and nothing is written to stderr."""
    assert process.stdout
    assert process.stdout.readline() == "uvloop\n"
    process.send_signal(number)
    out, err = process.communicate()
    assert (out, err, process.returncode) == ("goodbye\n", "", 0)


def test_both_signals_at_once_are_as_good_as_one(process: subprocess.Popen[str]) -> None:
    """A terminal and a supervisor may both say stop."""
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.communicate() == ("goodbye\n", "")
    assert process.returncode == 0


async def _in_use() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", port)


async def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (AddressInUse("127.0.0.1:1 is in use"), "cannot start: 127.0.0.1:1 is in use\n"),
        (StoreUnavailable("Redis at h:1\nis gone"), "cannot start: Redis at h:1 is gone\n"),
        (
            ExceptionGroup("tasks", [ExceptionGroup("inner", [AddressInUse("x is in use")])]),
            "cannot start: x is in use\n",
        ),
    ],
)
def test_a_known_error_is_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    """Also when a task group has wrapped it."""
    assert run(lambda _stop: _raise(error)) == 1
    assert capsys.readouterr().err == line


def test_a_taken_port_of_a_library_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An OSError from a socket says which address, in one line."""
    assert run(lambda _stop: _in_use()) == 1
    err = capsys.readouterr().err
    assert err.startswith("cannot start: ")
    assert "address already in use" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "bug",
    [
        RuntimeError("a bug"),
        OSError(2, "no such file"),
        ExceptionGroup("both", [AddressInUse("x"), RuntimeError("a bug")]),
    ],
)
def test_a_bug_is_not_hidden(bug: Exception) -> None:
    """Everything that is not known keeps its traceback."""
    with pytest.raises(type(bug)) as caught:
        run(lambda _stop: _raise(bug))
    assert caught.value is bug


def test_a_main_that_ends_by_itself_is_fine() -> None:
    """Status 0, and a signal that comes after the loop has closed changes nothing."""

    async def main(_stop: asyncio.Event) -> None:
        pass

    assert run(main) == 0
    for number in STOP_SIGNALS:
        signal.raise_signal(number)
