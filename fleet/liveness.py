"""Whether a process hangs, or only waits for a core.

A process whose loop comes round beats. One that has not beaten for long may be blocked, stopped, or
spinning: then nothing but a successor helps. Or the machine gives it no time: then a successor
would get none either, and killing it turns a slow moment into a lost one. So its silence is counted
in time that it had:

    it could run (state R)   what it used of a core since the last look
    it could not             what passed, for it waits for something else than a core

and of one look at most `MAX_STEP_MS`, because whoever looks late was short of time himself.

Pure but for `Account`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

HUNG_AFTER_MS = 2000
MAX_STEP_MS = 500  # twice the time between two looks

_RUNNABLE = "R"
_STOPPED = frozenset("Tt")
_STAT_BYTES = 1024
_MS_PER_TICK = 1000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What the kernel says of a process: CPU time so far, whether it could run or is stopped."""

    cpu_ms: int
    runnable: bool
    stopped: bool = False


class Pulse:
    """One process's heartbeat, looked at regularly."""

    def __init__(self, hung_after_ms: int = HUNG_AFTER_MS) -> None:
        self.hung_after_ms = hung_after_ms
        self._beat_ms = self._seen_ms = self._cpu_ms = -1
        self._silent_ms = 0

    def hangs(self, beat_ms: int, usage: Usage, now_ms: int) -> bool:
        """Whether the process, whose last beat is this, has let too much time of its own pass."""
        if beat_ms != self._beat_ms:
            self._silent_ms = 0
        else:
            passed_ms = min(now_ms - self._seen_ms, MAX_STEP_MS)
            used_ms = usage.cpu_ms - self._cpu_ms
            self._silent_ms += min(passed_ms, used_ms) if usage.runnable else passed_ms
        self._beat_ms, self._seen_ms, self._cpu_ms = beat_ms, now_ms, usage.cpu_ms
        return self._silent_ms > self.hung_after_ms


class Account:
    """The kernel's account of one process of ours.

    It is opened when the process starts and read again and again, so that a look at it needs no
    descriptor when there may be none. Raises OSError when there is none now.
    """

    def __init__(self, pid: int) -> None:
        self._fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)

    def usage(self) -> Usage | None:
        """As it stands; None when that is not to be known, for instance because it is gone."""
        try:
            line = os.pread(self._fd, _STAT_BYTES, 0).decode(errors="replace")
            # The name stands in parentheses and may hold anything. State, and ticks of
            # proc_pid_stat(5).
            fields = line.rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
        except (OSError, MemoryError, ValueError, IndexError):
            return None
        return Usage(int(ticks * _MS_PER_TICK), fields[0] == _RUNNABLE, fields[0] in _STOPPED)

    def close(self) -> None:
        """Let the descriptor go."""
        os.close(self._fd)
