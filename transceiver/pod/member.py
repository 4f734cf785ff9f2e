"""One process of a transceiver of several, as its parent has it: started, watched, ended.

A process hangs when its loop has not come round for `HUNG_AFTER_MS` of time that it had
(`fleet.liveness`): it is stopped, blocked for ever, or spins. Relays miss it long before that. One
that is still starting gets `START_MS`. Whoever made this hears of each that has `died`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from fleet.backoff import Backoff, Pace
from fleet.calls.owner import Owner
from fleet.errors import StartupError
from fleet.liveness import Account, Pulse
from transceiver.pod.heartbeat import Heartbeat

STEADY_S = 10.0
"""A process that lived that long has not failed to start: the next one is started at once."""
RESTART_PACE = Pace(first_s=0.2, longest_s=3.0)
LOOK_INTERVAL_S = 0.25
HUNG_AFTER_MS = 6_000
START_MS = 60_000

_log = structlog.get_logger(__name__)

Result = TypeVar("Result")


class Member:
    """One process of the pod, through its restarts."""

    def __init__(
        self,
        index: int,
        count: int,
        http_sockets: Sequence[socket.socket],
        directory: str,
        died: Callable[[Owner], object],
    ) -> None:
        self._index = index
        self._count = count
        self._http_sockets = http_sockets
        self._directory = directory
        self._died = died
        self._heartbeat = Heartbeat.create()
        self._process: asyncio.subprocess.Process | None = None
        self._account: Account | None = None
        self._pulse = Pulse(START_MS)
        self._leash: socket.socket | None = None

    async def start(self) -> None:
        """Return when callers may come.

        Raises StartupError when the process ends before, and OSError when it cannot be made.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._let_go()
        self._leash = ours
        with theirs:
            await self._make(theirs.fileno())
        # Its own words are on stderr already.
        if not await self._watched(asyncio.get_running_loop().sock_recv(ours, 1)):
            raise StartupError(f"process {self._index} of the transceiver did not start")

    async def keep(self) -> None:
        """Restart the process whenever it ends, and end it when it hangs; for ever."""
        backoff = Backoff(RESTART_PACE, STEADY_S)
        while True:
            started_s = time.monotonic()
            status = await self._ended()
            _log.error("transceiver_process_ended", index=self._index, status=status)
            if owner := self._heartbeat.owner:  # one that gave its lease back is nobody
                self._died(owner)
            await asyncio.sleep(backoff.after(time.monotonic() - started_s))
            await self._restart()

    async def stop(self) -> None:
        """Ask the process to end, and wait until it has: its calls may still have their time."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            await self._ended()
        self._let_go()
        self._heartbeat.close()

    async def _restart(self) -> None:
        try:
            await self.start()
        except StartupError:
            return  # it has said why
        except Exception as error:  # no descriptor, no memory: there may be in a moment
            _log.error("transceiver_process_not_made", index=self._index, kind=type(error).__name__)
            return
        _log.info("transceiver_process_restarted", index=self._index)

    async def _ended(self) -> int:
        return await self._watched(self._process.wait()) if self._process is not None else 0

    async def _watched(self, outcome: Coroutine[Any, Any, Result]) -> Result:
        """What is awaited of the process, which is ended if it hangs before."""
        awaited = asyncio.ensure_future(outcome)
        try:
            while not (await asyncio.wait([awaited], timeout=LOOK_INTERVAL_S))[0]:
                self._end_if_hung()
            return awaited.result()
        finally:
            awaited.cancel()

    def _end_if_hung(self) -> None:
        usage = self._account.usage() if self._account is not None else None
        if usage is None or self._process is None:
            return
        beat_ms = self._heartbeat.beat_ms
        if beat_ms and self._pulse.hung_after_ms == START_MS:
            self._pulse = Pulse(HUNG_AFTER_MS)
        if self._pulse.hangs(beat_ms, usage, int(time.monotonic() * 1000)):
            _log.error("transceiver_process_hung", index=self._index, pid=self._process.pid)
            with suppress(ProcessLookupError):
                self._process.kill()  # nothing less ends one that is stopped

    async def _make(self, leash_fd: int) -> None:
        self._heartbeat.clear()
        self._pulse = Pulse(START_MS)
        self._process = await self._spawn(leash_fd)
        self._account = _account(self._process.pid)

    async def _spawn(self, leash_fd: int) -> asyncio.subprocess.Process:
        http_fds = [shared.fileno() for shared in self._http_sockets]
        descriptors = [leash_fd, self._heartbeat.fd, *http_fds]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "transceiver.pod.crew_member"),
            *(str(self._index), str(self._count), self._directory),
            *map(str, descriptors),
            pass_fds=descriptors,
        )

    def _let_go(self) -> None:
        if self._leash is not None:
            self._leash.close()
            self._leash = None
        if self._account is not None:
            self._account.close()
            self._account = None


def _account(pid: int) -> Account | None:
    """None when it has ended already, or there is no descriptor: then nobody looks."""
    try:
        return Account(pid)
    except OSError:
        return None
