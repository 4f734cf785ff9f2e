"""Writes the log's lines from a thread, so that nobody who logs ever waits or fails.

    log.info ─▶ render ─▶ bounded queue ─▶ thread ─▶ stderr

A reader that stands still, a full disk, a closed pipe: the process goes on. Lines for which there
is no room are dropped and counted, and the count is said as soon as there is room again.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO

MAX_WAITING_LINES = 2048
MAX_LINE_BYTES = 16_384  # what is longer is cut: a traceback of a deep stack
FLUSH_S = 1.0  # for what waits when the process ends, and no longer

Write = Callable[[bytes], None]


class LogWriter:
    """Takes lines from any thread. `dropped` counts lines for which there was no room, `failed`
    those that could not be written."""

    def __init__(self, write: Write, max_waiting: int = MAX_WAITING_LINES) -> None:
        self._write = write
        self._waiting: queue.Queue[bytes | threading.Event | None] = queue.Queue(max_waiting)
        self._said = 0  # of the lines that are missing, how many the log itself says are
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.failed = 0

    def put(self, line: str) -> None:
        """Have a line written soon, or drop it. Never waits, never raises."""
        data = line.encode("utf-8", "backslashreplace")[:MAX_LINE_BYTES].rstrip(b"\n") + b"\n"
        try:
            self._waiting.put_nowait(data)
        except queue.Full:
            self.dropped += 1
        if self._thread is None:
            self._begin()

    def flush(self, within_s: float = FLUSH_S) -> bool:
        """Wait until all lines of now are written; whether they were, within that time."""
        if self._thread is None:
            return True
        written = threading.Event()
        with suppress(queue.Full):
            self._waiting.put(written, timeout=within_s)
            return written.wait(within_s)
        return False

    def close(self) -> None:
        """Write what waits, and end the thread; one that hangs is left to itself."""
        if self.flush() and self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None
        atexit.unregister(self.flush)

    def _begin(self) -> None:
        # A daemon: a process does not wait for whoever does not read its log.
        thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: the lines wait for the next try
            return
        self._thread = thread
        atexit.register(self.flush)

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if isinstance(item, threading.Event):
                self._try(b"")
                item.set()
            else:
                self._try(item)

    def _try(self, line: bytes) -> None:
        missing = self.dropped + self.failed
        try:
            if missing > self._said:
                self._write(_missing(missing - self._said))
                self._said = missing
            if line:
                self._write(line)
        except (OSError, ValueError):  # ValueError: the stream was closed
            self.failed += bool(line)


def to_stream(stream: TextIO) -> Write:
    """Write to a stream, past its buffer where it has a descriptor.

    The buffer has a lock, and a thread that hangs in a write with that lock would stop the
    interpreter from ending.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return lambda data: _write_text(stream, data)
    return lambda data: _write_all(descriptor, data)


def _write_text(stream: TextIO, data: bytes) -> None:
    stream.write(data.decode(errors="replace"))
    stream.flush()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _missing(lines: int) -> bytes:
    line = {
        "event": "log_lines_dropped",
        "level": "warning",
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "lines": lines,
    }
    return json.dumps(line).encode() + b"\n"
