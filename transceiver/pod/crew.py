"""A transceiver of several processes: the parent starts them and keeps them running.

The parent binds the HTTP port and carries no call. Its processes inherit the bound sockets. So the
port stays there while one of them is restarted, and a process that has time accepts. Each process
has a trunk port and an admin port of its own, in sequence. Each holds a node index of its own, so
relays see several transceivers, and a crash ends the calls of one process.

_log = structlog.get_logger(__name__)
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Awaitable, Sequence

import structlog

from fleet.address import Address
from fleet.ending import end, ending
from transceiver.pod.member import Member
from transceiver.settings import TransceiverSettings
from trunkline.process.listen import check_free

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
