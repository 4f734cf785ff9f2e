"""A process and all that it started: they end with us, or at once."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from launcher import leash


def leashed(command: list[str]) -> list[str]:
    """The command, killed by the kernel when we end without tidying up (`launcher.leash`)."""
    return [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *command]


def kill_family(pid: int, timeout_s: float) -> None:
    """Kill a process of ours and its descendants; returns when all are dead or time is up."""
    handles = []
    for member in _family(pid):
        with suppress(ProcessLookupError):
            handles.append(os.pidfd_open(member))
    for handle in handles:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    _await_all(handles, timeout_s)


def _family(pid: int) -> list[int]:
    try:
        tasks = list(Path("/proc", str(pid), "task").iterdir())
        children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:  # it ended meanwhile
        return [pid]
    return [pid, *(member for child in children for member in _family(child))]


def _await_all(handles: list[int], timeout_s: float) -> None:
    ends_at = time.monotonic() + timeout_s
    for handle in handles:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll(max(0.0, ends_at - time.monotonic()) * 1000)
        os.close(handle)
