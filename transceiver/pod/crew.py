"""A transceiver of several processes: the parent starts them and keeps them running.

The parent binds the HTTP port and carries no call. Its processes inherit the bound sockets. So the
port stays there while one of them is restarted, and a process that has time accepts. Each process
has a trunk port and an admin port of its own, in sequence. Each holds a node index of its own, so
relays see several transceivers. Of a process that crashes the parent says at once which node it was
(`obituary`), and other transceivers go on with its calls.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Sequence

import structlog

from fleet.ending import end, ending
from fleet.suspicion import SuspicionChannel
from transceiver.pod.member import Member
from transceiver.pod.obituary import Obituaries
from transceiver.settings import TransceiverSettings
from trunkline.process.listen import bind_tcp

_log = structlog.get_logger(__name__)


async def run(settings: TransceiverSettings, stop: asyncio.Event) -> None:
    """Run all processes until `stop`, then until their calls are over.

    Raises StartupError when the port is taken, or when one of them cannot start in the beginning.
    """
    sockets = await bind_tcp(settings.transceiver_http)
    with tempfile.TemporaryDirectory(prefix="trunkline-transceiver-") as directory:
        count = settings.transceiver_processes
        obituaries = Obituaries(_channel(settings))
        members = [
            Member(index, count, sockets, directory, obituaries.died) for index in range(count)
        ]
        try:
            await _started(members, stop)
            await _keep(members, stop)
        finally:
            await asyncio.gather(*(member.stop() for member in members))
            await obituaries.close()
            for shared in sockets:
                shared.close()


def _channel(settings: TransceiverSettings) -> SuspicionChannel:
    # With the keys of the start: processes keep a key that was retired for as long as it is in use.
    url = settings.redis_url.get_secret_value()
    return SuspicionChannel(url, settings.cluster, lambda: settings.token_keys)


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
