"""Nobody who logs waits or fails, whoever reads the log or does not."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.log_writer import LogWriter, to_stream

ROOT = Path(__file__).parents[2]


def numbers(data: bytes) -> list[int]:
    return [line["lines"] for line in map(json.loads, data.splitlines()) if "lines" in line]


class Gate:
    """A write that waits until it is let through, or fails while it is told to."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.error: OSError | None = None
        self.written = b""

    def __call__(self, data: bytes) -> None:
        self.entered.set()
        assert self.open.wait(30)
        if self.error:
            raise self.error
        self.written += data


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def test_lines_come_out_in_order(gate: Gate) -> None:
    """Each on a line of its own, and half surrogates are no reason to fail."""
    writer = LogWriter(gate)
    gate.open.set()
    for line in ("one", "two\n", "thr\udcffee"):
        writer.put(line)
    writer.close()
    assert gate.written == b"one\ntwo\nthr\\udcffee\n"


def test_what_has_no_room_is_dropped_and_said(gate: Gate) -> None:
    """Nobody waits while the reader stands still; then the log says how much is missing."""
    writer = LogWriter(gate, max_waiting=3)
    writer.put('{"n": 0}')
    assert gate.entered.wait(30)
    for n in range(1, 11):
        writer.put(f'{{"n": {n}}}')
    assert writer.dropped == 7
    assert not writer.flush(within_s=0.01)
    gate.open.set()
    writer.close()
    assert numbers(gate.written) == [7]
    assert b'{"n": 3}' in gate.written


def test_what_cannot_be_written_is_counted_and_said(gate: Gate) -> None:
    """A full disk: the lines are gone, and the first that fits says how many."""
    writer = LogWriter(gate)
    gate.open.set()
    gate.error = OSError(28, "No space left on device")
    for n in range(5):
        writer.put(f'{{"n": {n}}}')
    assert writer.flush()
    assert writer.failed == 5
    gate.error = None
    writer.put('{"n": 5}')
    writer.close()
    assert numbers(gate.written) == [5]
    assert gate.written.endswith(b'{"n": 5}\n')


def test_a_closed_stream_is_no_error() -> None:
    """Whatever a stream does, whoever logs does not hear of it."""
    stream = io.StringIO()
    writer = LogWriter(to_stream(stream))
    stream.close()
    writer.put("line")
    writer.close()
    assert writer.failed == 1


def test_long_lines_are_cut(gate: Gate) -> None:
    """So the queue has a bound in bytes too."""
    writer = LogWriter(gate)
    gate.open.set()
    writer.put("x" * 10**6)
    writer.close()
    assert len(gate.written) == 16_384 + 1


def test_without_a_thread_lines_wait(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that gets no thread, at a limit of its own, logs as soon as it gets one."""
    writer = LogWriter(gate)
    gate.open.set()
    with monkeypatch.context() as patch:

        def none_left(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", none_left)
        writer.put("one")
    writer.put("two")
    writer.close()
    assert gate.written == b"one\ntwo\n"


@contextmanager
def victim(stderr: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fleet.log_victim"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def counted(process: subprocess.Popen[str]) -> dict[str, int]:
    assert process.stdout
    found: dict[str, int] = json.loads(process.stdout.readline())
    return found


def test_a_reader_that_stands_still_stops_nobody() -> None:
    """A pipe that nobody reads: the loop goes on, lines are counted, and the process ends."""
    read_end, write_end = os.pipe()
    with victim(write_end) as process:
        os.close(write_end)
        counts = counted(process)
        assert counts["turns"] == 20_000
        assert counts["log_lines_dropped"] > 1000
        process.terminate()
        assert process.wait(30) == 0
    os.close(read_end)


def test_a_reader_that_comes_back_is_told() -> None:
    """What was dropped is said where it is missing."""
    read_end, write_end = os.pipe()
    with victim(write_end) as process, os.fdopen(read_end, "rb") as reader:
        os.close(write_end)
        dropped = counted(process)["log_lines_dropped"]
        process.terminate()
        text = reader.read()
        assert process.wait(30) == 0
    assert sum(numbers(text)) >= dropped > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_stops_nobody() -> None:
    """Every write fails: nobody hears of it, and SIGTERM still means a clean end."""
    full = os.open("/dev/full", os.O_WRONLY)
    with victim(full) as process:
        os.close(full)
        assert counted(process)["turns"] == 20_000
        process.terminate()
        assert process.wait(30) == 0


def test_a_pipe_without_a_reader_stops_nobody() -> None:
    """The reader is gone for good (EPIPE)."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with victim(write_end) as process:
        os.close(write_end)
        assert counted(process)["turns"] == 20_000
        process.terminate()
        assert process.wait(30) == 0
