"""One running process: it is read line by line, and ends with all its descendants."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from launcher.lines import LineSplitter

READ_BYTES = 65536
TAIL_LINES = 5
_LEASH = str(Path(__file__).with_name("leash.py"))


class Child:
    """A process in a session of its own, so that Ctrl-C in the terminal reaches the launcher only.

    Its end is seen through a pidfd: the process is still a zombie then, its group cannot have been
    given to anybody else, and whatever it left behind is killed before it is reaped.
    Must be made in the thread of a running event loop (the leash belongs to that thread).
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_line = on_line
        self._splitter = LineSplitter()
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self._popen, self._output_fd = _spawn(command, environment)
        self._pidfd = os.pidfd_open(self._popen.pid)
        self._loop.add_reader(self._output_fd, self._read)
        self._loop.add_reader(self._pidfd, self._reap)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its session and group."""
        return self._popen.pid

    async def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the exit status (negative: the signal), or None when it still runs by then."""
        await asyncio.wait({self.exited}, timeout=timeout_s)
        return self.exited.result() if self.exited.done() else None

    async def stop(self, timeout_s: float) -> int:
        """Ask it to end, wait up to `timeout_s`, then kill its group. Returns the exit status."""
        if not self.exited.done():
            self._popen.send_signal(signal.SIGTERM)
        try:
            await self.wait(timeout_s)
        finally:
            self.kill()
        await self.wait()
        return self.exited.result()

    def hold_output(self) -> None:
        """Read nothing more, until `release_output`."""
        self._loop.remove_reader(self._output_fd)

    def release_output(self) -> None:
        """Read again; nothing happens when the process has ended."""
        if not self.exited.done():
            self._loop.add_reader(self._output_fd, self._read)

    def kill(self) -> None:
        """Kill the process and all of its group at once; nothing happens when it has ended."""
        if not self.exited.done():
            os.killpg(self.pid, signal.SIGKILL)

    def _read(self) -> None:
        data = _read_available(self._output_fd)
        if data == b"":
            self._loop.remove_reader(self._output_fd)
        for line in self._splitter.feed(data or b""):
            self._tell(line)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._output_fd)
        os.killpg(self.pid, signal.SIGKILL)
        status = self._popen.wait()
        while data := _read_available(self._output_fd):
            for line in self._splitter.feed(data):
                self._tell(line)
        for line in self._splitter.flush():
            self._tell(line)
        os.close(self._output_fd)
        os.close(self._pidfd)
        self.exited.set_result(status)

    def _tell(self, line: str) -> None:
        if line:
            self.tail.append(line)
            self._on_line(line)


def _spawn(
    command: Sequence[str], environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    """Start `command` with one pipe for both outputs; return it and the pipe's reading end."""
    reading_fd, writing_fd = os.pipe()
    os.set_blocking(reading_fd, False)
    leash = [sys.executable, "-I", "-S", _LEASH, str(os.getpid())]
    try:
        popen = subprocess.Popen(
            [*leash, *command],
            stdin=subprocess.DEVNULL,
            stdout=writing_fd,
            stderr=writing_fd,
            env=dict(environment),
            start_new_session=True,
        )
    except OSError:
        os.close(reading_fd)
        raise
    finally:
        os.close(writing_fd)
    return popen, reading_fd


def _read_available(fd: int) -> bytes | None:
    """Read once; b"" at the end of the stream, None when nothing is there yet."""
    try:
        return os.read(fd, READ_BYTES)
    except BlockingIOError:
        return None
