"""A transceiver of several processes: the parent starts them and keeps them running.

The parent binds the HTTP port and carries no call. Its processes inherit the bound sockets. So the
port stays there while one of them is restarted, and a process that has time accepts. Each process
has a trunk port and an admin port of its own, in sequence. Each holds a node index of its own, so
relays see several transceivers, and a crash ends the calls of one process.

Between the parent and each process is a socket pair. The process says on it that it is up. The end
of the pair shows that the parent is gone, however it ended.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress

import structlog

from fleet.address import Address
from fleet.backoff import Backoff, Pace
from fleet.ending import end, ending
from fleet.errors import StartupError
from transceiver.settings import TransceiverSettings
from trunkline.process.listen import check_free

STEADY_S = 10.0
"""A process that lived that long has not failed to start: the next one is started at once."""
RESTART_PACE = Pace(first_s=0.2, longest_s=3.0)

_log = structlog.get_logger(__name__)


async def run(settings: TransceiverSettings, stop: asyncio.Event) -> None:
    """Run all processes until `stop`, then until their calls are over.

    Raises StartupError when the port is taken, or when one of them cannot start in the beginning.
    """
    sockets = await _bind(settings.transceiver_http)
    with tempfile.TemporaryDirectory(prefix="trunkline-transceiver-") as directory:
        count = settings.transceiver_processes
        members = [Member(index, count, sockets, directory) for index in range(count)]
        try:
            await _started(members, stop)
            await _keep(members, stop)
        finally:
            await asyncio.gather(*(member.stop() for member in members))
            for shared in sockets:
                shared.close()


class Member:
    """One process of the pod, through its restarts."""

    def __init__(
        self, index: int, count: int, http_sockets: Sequence[socket.socket], directory: str
    ) -> None:
        self._index = index
        self._count = count
        self._http_sockets = http_sockets
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._leash: socket.socket | None = None

    async def start(self) -> None:
        """Return when callers may come. Raises StartupError when the process ends before."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._let_go()
        self._leash = ours
        with theirs:
            self._process = await self._spawn(theirs.fileno())
        # Its own words are on stderr already.
        if not await asyncio.get_running_loop().sock_recv(ours, 1):
            raise StartupError(f"process {self._index} of the transceiver did not start")

    async def keep(self) -> None:
        """Restart the process whenever it ends; for ever."""
        backoff = Backoff(RESTART_PACE, STEADY_S)
        while True:
            started_s = time.monotonic()
            status = await self._ended()
            _log.error("transceiver_process_ended", index=self._index, status=status)
            await asyncio.sleep(backoff.after(time.monotonic() - started_s))
            with suppress(StartupError):
                await self.start()
                _log.info("transceiver_process_restarted", index=self._index)

    async def stop(self) -> None:
        """Ask the process to end, and wait until it has: its calls may still have their time."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            await self._process.wait()
        self._let_go()

    async def _ended(self) -> int:
        return await self._process.wait() if self._process is not None else 0

    async def _spawn(self, leash_fd: int) -> asyncio.subprocess.Process:
        http_fds = [shared.fileno() for shared in self._http_sockets]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "transceiver.pod.crew_member"),
            *(str(self._index), str(self._count), self._directory, str(leash_fd)),
            *map(str, http_fds),
            pass_fds=[leash_fd, *http_fds],
        )

    def _let_go(self) -> None:
        if self._leash is not None:
            self._leash.close()
            self._leash = None


async def _bind(address: Address) -> list[socket.socket]:
    """Sockets bound to the address, one for each family of a host name, not listening yet."""
    await check_free(address)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        asyncio.Protocol, address.host, address.port, start_serving=False
    )
    # Copies of our own: the loop's are closed with its server.
    sockets = [socket.socket(fileno=os.dup(found.fileno())) for found in server.sockets]
    server.close()
    return sockets


async def _started(members: Sequence[Member], stop: asyncio.Event) -> None:
    """All are up, or `stop` came first. Raises StartupError for the first that cannot start."""
    await _until(stop, asyncio.gather(*(member.start() for member in members)))


async def _keep(members: Sequence[Member], stop: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks, ending() as running:
        running += [tasks.create_task(member.keep()) for member in members]
        if not stop.is_set():
            _log.info("transceiver_crew_started", processes=len(members))
        await stop.wait()


async def _until(stop: asyncio.Event, work: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
    finally:
        await end(tasks)
