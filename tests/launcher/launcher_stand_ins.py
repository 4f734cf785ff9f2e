"""Stand-in parts: one line of Python each, ready when they say so, and ways to look at them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from launcher.part import Part


class Commands:
    """Makes parts that run a line of Python; each is ready once its file of that name exists."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def part(self, name: str, source: str, after: tuple[str, ...] = ()) -> Part:
        flag = self.directory / name

        async def ready() -> bool:
            return flag.exists()

        head = f"import os, pathlib, signal, sys, time; READY = pathlib.Path({str(flag)!r})\n"
        return Part(
            name=name,
            command=(sys.executable, "-c", head + source),
            ready=ready,
            environment={**os.environ, "PYTHONUNBUFFERED": "1"},
            after=after,
        )


STAY = "READY.touch(); signal.pause()"
STUBBORN = (
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); READY.touch()\nwhile True: signal.pause()"
)


def is_alive(pid: int) -> bool:
    """Tell whether the process exists and is not a zombie that only waits for its parent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def ended(pid: int) -> None:
    """Return when the process has ended; the test's own time limit bounds the wait."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(pidfd, gone.set)
    try:
        await gone.wait()
    finally:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
