"""Tells a worker that hangs from one that only waits for a core.

The loop of a worker comes round every 50 ms and notes the time, which is its beat. A worker without
a beat for a long time may be blocked, stopped or spinning, and then only a successor helps. Or the
machine gives it no time. Then a successor would get none either, and to kill the worker would make
a slow moment worse. So its silence is counted in time that it could have used:

    it could run (state R)   the CPU time that it used since the last look
    it could not             the time that passed, because it waits for something else than a core

One look counts at most `MAX_STEP_MS`, because a late look means that this process had no time
either.

Pure but for `read_usage`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HUNG_AFTER_MS = 2000
MAX_STEP_MS = 500  # twice the time between two looks

_RUNNABLE = "R"
_MS_PER_TICK = 1000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What the kernel says of a process: CPU time so far, and whether it could run now."""

    cpu_ms: int
    runnable: bool


class Pulse:
    """One worker's heartbeat, looked at regularly."""

    def __init__(self, hung_after_ms: int = HUNG_AFTER_MS) -> None:
        self._hung_after_ms = hung_after_ms
        self._beat_ms = self._seen_ms = self._cpu_ms = -1
        self._silent_ms = 0

    def hangs(self, beat_ms: int, usage: Usage, now_ms: int) -> bool:
        """Whether the worker with this last beat has not used too much of its own time."""
        if beat_ms != self._beat_ms:
            self._silent_ms = 0
        else:
            passed_ms = min(now_ms - self._seen_ms, MAX_STEP_MS)
            used_ms = usage.cpu_ms - self._cpu_ms
            self._silent_ms += min(passed_ms, used_ms) if usage.runnable else passed_ms
        self._beat_ms, self._seen_ms, self._cpu_ms = beat_ms, now_ms, usage.cpu_ms
        return self._silent_ms > self._hung_after_ms


def read_usage(pid: int) -> Usage | None:
    """The kernel's account of a process; None when it is gone."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold anything. State, and ticks of proc_pid_stat(5).
    fields = line.rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return Usage(int(ticks * _MS_PER_TICK), fields[0] == _RUNNABLE)
