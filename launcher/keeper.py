"""Keeps one part running: starts it, waits until it is ready, and starts it again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.backoff import Backoff, Pace
from launcher.child import Child
from launcher.errors import NotRunningError, StartupError
from launcher.log import Log
from launcher.part import Part

PROBE_INTERVAL_S = 0.05
STEADY_S = 30.0
"""A part that ran this long was well: after its next death it is started again at once."""
RESTART_PACE = Pace(first_s=0.5, longest_s=10.0, spread=False)  # there is one of each here


class Keeper:
    """One part and its process.

    `start()` brings it up once and raises when that fails; `watch()` then restarts it after every
    death, with a growing delay, until `stop()`.
    """

    def __init__(self, part: Part, log: Log, ready_timeout_s: float, stop_timeout_s: float) -> None:
        self.part = part
        self.restarts = 0
        self._log = log
        self._ready_timeout_s = ready_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._child: Child | None = None
        self._started_at = 0.0
        self._watching: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether the part has a live process."""
        return self._child is not None and not self._child.exited.done()

    @property
    def pid(self) -> int:
        """The process id of the part. Raises NotRunningError while it has no live process."""
        if self._child is None or not self.running:
            raise NotRunningError(f"{self.part.name} is not running")
        return self._child.pid

    async def start(self) -> None:
        """Start the process and return when it is ready. Raises StartupError; it is ended then."""
        child = self._spawn()
        try:
            await self._until_ready(child)
        except BaseException:
            await child.stop(self._stop_timeout_s)
            raise

    def watch(self) -> None:
        """Restart the part from now on when it dies. Raises StartupError if it is dead already."""
        if self._child is not None and self._child.exited.done():
            raise self._died(self._child)
        self._watching = asyncio.create_task(self._keep(), name=f"keep {self.part.name}")

    async def stop(self) -> None:
        """End the part for good; nothing happens when it does not run."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
            self._watching = None
        if self._child is not None:
            await self._child.stop(self._stop_timeout_s)

    @contextmanager
    def output_held(self) -> Iterator[None]:
        """Read nothing of what it says, for the length of the block: a stuck log reader."""
        child = self._child
        if child is None:
            raise NotRunningError(f"{self.part.name} is not running")
        child.hold_output()
        try:
            yield
        finally:
            child.release_output()

    def kill(self) -> None:
        """Kill the part's process group now, without asking it."""
        if self._child is not None:
            self._child.kill()

    def _spawn(self) -> Child:
        part = self.part
        self._started_at = asyncio.get_running_loop().time()
        self._child = Child(
            part.command, part.environment, lambda line: self._log.write(part.name, line)
        )
        return self._child

    async def _until_ready(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        while not (await self.part.ready()) or child.exited.done():
            if loop.time() - self._started_at > self._ready_timeout_s:
                raise StartupError(f"{self.part.name}: not ready after {self._ready_timeout_s:g} s")
            if await child.wait(PROBE_INTERVAL_S) is not None:
                raise self._died(child)

    def _died(self, child: Child) -> StartupError:
        """One line: what the part said last, or else how it ended."""
        name = self.part.name
        last = child.tail[-1].removeprefix(f"{name}: ") if child.tail else "said nothing"
        return StartupError(f"{name}: {last} ({exit_text(child.exited.result())})")

    async def _keep(self) -> None:
        backoff = Backoff(RESTART_PACE, STEADY_S)
        while self._child is not None:
            await self._child.wait()
            uptime_s = asyncio.get_running_loop().time() - self._started_at
            delay_s = backoff.after(uptime_s)
            self._report_death(self._child, uptime_s, delay_s)
            await asyncio.sleep(delay_s)
            await self._restart()

    async def _restart(self) -> None:
        self.restarts += 1
        try:
            await self.start()
        except (StartupError, OSError) as error:
            self._log.say(f"{error}")
        else:
            self._log.say(f"{self.part.name} is back, pid {self.pid}")

    def _report_death(self, child: Child, uptime_s: float, delay_s: float) -> None:
        name, status = self.part.name, exit_text(child.exited.result())
        self._log.say(
            f"{name} died: {status}, after {uptime_s:.1f} s; starting it again in {delay_s:g} s"
        )
        for line in child.tail:
            self._log.say(f"  {name} said: {line}")


def exit_text(status: int) -> str:
    """Name an exit status the way a person would: `exit status 1`, `killed by SIGKILL`."""
    if status >= 0:
        return f"exit status {status}"
    return f"killed by {signal.Signals(-status).name}"
