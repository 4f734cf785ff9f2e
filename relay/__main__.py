"""`python -m relay`: one relay. Wiring only."""

from __future__ import annotations

import fleet.extras  # noqa: F401 - first: it says what to install when an import below fails

# isort: split
import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import grpc.aio
import structlog

from fleet import logs
from fleet.admin import process_admin
from fleet.admin import server as admin
from fleet.await_master import after_failover
from fleet.directory.clock import warn_of_skew
from fleet.directory.directory import Directory, Node
from fleet.directory.follower import DirectoryFollower
from fleet.directory.redis_store import RedisStore
from fleet.ending import ending
from fleet.keep_going import keep_going
from fleet.settings import load
from fleet.suspicion import SuspicionChannel
from relay.settings import RelaySettings
from relay.shared.nodes import NodeTable
from relay.supervisor import metrics
from relay.supervisor.admin import SERVICE_NAME, RelayAdmin
from relay.supervisor.crew import Crew
from relay.supervisor.flow_persistence import FlowPersistence
from relay.supervisor.handover import Handover, inherit
from relay.supervisor.sockets import open_public, open_trunk
from relay.supervisor.suspicions import Suspicions
from trunkline.process import shell
from trunkline.v1.admin_pb2_grpc import (
    add_ProcessAdminServicer_to_server,
    add_RelayAdminServicer_to_server,
)
from wire.address import pack_address

_READY_CHECK_INTERVAL_S = 0.05
_log = structlog.get_logger(__name__)


async def run(settings: RelaySettings, stop: asyncio.Event) -> None:
    """Run until `stop`. Raises StartupError when something it needs is not to be had."""
    admin.AdminSecurity.of(settings).check()
    inherited = await inherit(settings)
    public, trunk = inherited.sockets if inherited else _open(settings)
    directory = Directory()
    crew = Crew(settings, public, trunk, inherited.tables if inherited else ())
    store = RedisStore(settings.redis_url.get_secret_value(), settings.cluster, crew.token_keys)
    flow_persistence = FlowPersistence(settings, crew)
    suspicions = _suspicions(settings, crew)
    holder = Handover(settings.relay_handover, crew, settings.cluster, stop.set)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks, ending() as running:
        stack.push_async_callback(holder.close)  # first in, last out: only then are the ports free
        stack.push_async_callback(store.close)
        stack.push_async_callback(flow_persistence.close)
        stack.push_async_callback(suspicions.close)
        follower = DirectoryFollower(store, directory)
        directory.listen(partial(_tell_workers, crew.nodes))
        await after_failover(follower.load)
        await warn_of_skew(store)
        if inherited:
            stack.callback(inherited.close)
            inherited.prepare(crew)
        crew.start()
        stack.push_async_callback(crew.stop)
        # Before anything else is waited for: the first packets may be of flows to be asked about.
        loops = {
            "directory": follower.run,
            "watch": crew.watch,
            **flow_persistence.loops(),
            **suspicions.loops(),
        }
        running += [_kept(tasks, crew, name, loop) for name, loop in loops.items()]
        if inherited:
            await inherited.serve(crew)
        holder.open()  # before the predecessor ends: there is always somebody at the path
        if inherited:
            await inherited.outlive()
        doors = await _open_doors(settings, crew, directory, stack)
        running.append(_kept(tasks, crew, "health", doors.report_health))
        _log.info(
            "relay_started", port=settings.relay_port, workers=len(public), admin=doors.server.port
        )
        await stop.wait()
    _log.info("relay_stopped")


@dataclass(frozen=True)
class _Doors:
    """What operators and Prometheus speak to."""

    crew: Crew
    operator: RelayAdmin
    server: admin.AdminServer

    async def report_health(self) -> None:
        """Ready means: the data plane moves, and nobody asked for a drain.

        It does not depend on Redis once there is a directory.
        """
        told = False
        while True:
            ready = self.crew.up() and not self.operator.draining
            if ready != told:
                told = ready
                await self.server.set_serving(told)
            await asyncio.sleep(_READY_CHECK_INTERVAL_S)


async def _open_doors(
    settings: RelaySettings, crew: Crew, directory: Directory, stack: AsyncExitStack
) -> _Doors:
    scraper = metrics.serve(settings.relay_metrics, crew, directory)
    stack.callback(scraper.server_close)
    stack.push_async_callback(asyncio.to_thread, scraper.shutdown)
    operator = RelayAdmin(crew, directory)
    server = await admin.serve(
        settings.relay_admin,
        _admin_services(settings, operator, directory),
        [SERVICE_NAME, process_admin.SERVICE_NAME],
        admin.AdminSecurity.of(settings),
    )
    stack.push_async_callback(server.close)
    return _Doors(crew, operator, server)


def _suspicions(settings: RelaySettings, crew: Crew) -> Suspicions:
    url = settings.redis_url.get_secret_value()
    channel = SuspicionChannel(url, settings.cluster, crew.token_keys)
    return Suspicions(crew, channel)


def _kept(
    tasks: asyncio.TaskGroup, crew: Crew, name: str, loop: Callable[[], Awaitable[None]]
) -> asyncio.Task[None]:
    """A task for a loop that goes on whatever it raises."""
    return tasks.create_task(keep_going(loop, crew.faults.at(name)))


def _admin_services(
    settings: RelaySettings, own: RelayAdmin, directory: Directory
) -> list[Callable[[grpc.aio.Server], None]]:
    async def nodes() -> Sequence[Node]:
        return tuple(directory)

    common = process_admin.ProcessAdmin("relay", settings, nodes)
    return [
        partial(add_RelayAdminServicer_to_server, own),
        partial(add_ProcessAdminServicer_to_server, common),
    ]


def _open(settings: RelaySettings) -> tuple[list[socket.socket], list[socket.socket]]:
    count = settings.relay_workers
    public = open_public(settings.relay_host, settings.relay_port, count)
    return public, open_trunk(settings.relay_trunk_host, settings.relay_trunk_port, count)


def _tell_workers(table: NodeTable, changed: Sequence[Node]) -> None:
    # Also a node without a lease stays: its calls go on as long as it answers (fleet.directory).
    for node in changed:
        table.put(node.index, node.epoch, pack_address(node.trunk.host, node.trunk.port))


def main() -> int:
    """Entry point; returns the exit status."""
    settings = load(RelaySettings, "python -m relay")
    logs.configure(settings.log_level, settings.log_format, process="relay")
    return shell.run(partial(run, settings))


if __name__ == "__main__":
    sys.exit(main())
