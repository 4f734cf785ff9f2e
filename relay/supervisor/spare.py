"""The process that waits to be needed: one at a time, and a sound one.

A worker that dies is replaced by it at once; a spare that is dead or stopped would be found out
only then. So one that ends is replaced, and one that is stopped for as long as a worker may hang
is ended.
"""

from __future__ import annotations

import asyncio

from fleet.liveness import Pulse
from relay.supervisor.faults import Faults
from relay.supervisor.process import Process
from relay.supervisor.reserve import Reserve


class Spare:
    """At most one process that waits. `close` gives back what there is of it."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._reserve = Reserve()
        self._process: Process | None = None
        self._pulse = Pulse()

    def take(self) -> Process:
        """The spare, or a new process. Raises OSError when there can be none now."""
        process = self._let_go()
        return process or self._reserve.make(Process)

    def train(self) -> None:
        """Have one, if that can be; otherwise the next look will."""
        if self._process is not None:
            return
        try:
            process = self._reserve.make(Process)
        except Exception as error:
            self._faults.note("spare", error)
            return
        self._process, self._pulse = process, Pulse()
        asyncio.get_running_loop().add_reader(process.pid_fd, self._on_exit)

    def look(self, now_ms: int) -> None:
        """End one that has been stopped for long; asked regularly."""
        if self._process is None:
            return
        usage = self._process.usage()
        # It has nothing to do and does not beat: to be stopped is the one way in which it hangs.
        if usage and self._pulse.hangs(0 if usage.stopped else now_ms, usage, now_ms):
            self._process.kill()

    def close(self) -> Process | None:
        """The process that waits still, for whoever ends it."""
        self._reserve.close()
        return self._let_go()

    def _on_exit(self) -> None:
        process = self._let_go()
        if process is not None:
            process.reap()

    def _let_go(self) -> Process | None:
        process, self._process = self._process, None
        if process is not None:
            asyncio.get_running_loop().remove_reader(process.pid_fd)
        return process
