"""ProcessAdmin of admin.proto: the calls that every process answers."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from importlib.metadata import PackageNotFoundError, version

import grpc
import structlog
from pydantic_settings import BaseSettings

from fleet import logs
from fleet.admin.answers import Context, refuse, why_of
from fleet.admin.operator import who
from fleet.admin.settings_shown import shown_settings
from fleet.directory.directory import Node
from fleet.errors import StoreUnavailable
from fleet.event_tap import TooManyWatchers
from trunkline.v1 import admin_pb2, admin_pb2_grpc

SERVICE_NAME = admin_pb2.DESCRIPTOR.services_by_name["ProcessAdmin"].full_name
LEVELS = ("debug", "info", "warning", "error")

Nodes = Callable[[], Awaitable[Iterable[Node]]]
log = structlog.get_logger(__name__)


class ProcessAdmin(admin_pb2_grpc.ProcessAdminServicer):
    """The servicer. `nodes` gives the directory, and may raise StoreUnavailable; None for a process
    that knows none."""

    def __init__(self, process: str, settings: BaseSettings, nodes: Nodes | None) -> None:
        self._process = process
        self._settings = settings
        self._nodes = nodes
        self._started_unix_ms = _unix_ms()

    async def GetInfo(  # noqa: N802 - gRPC's name
        self, request: admin_pb2.GetInfoRequest, context: Context
    ) -> admin_pb2.Info:
        """Build, settings, log level."""
        return admin_pb2.Info(
            process=self._process,
            version=build_version(),
            python=platform.python_version(),
            pid=os.getpid(),
            host=socket.gethostname(),
            started_unix_ms=self._started_unix_ms,
            log_level=logs.level(),
            settings=shown_settings(self._settings),
            now_unix_ms=_unix_ms(),
        )

    async def ListNodes(  # noqa: N802
        self, request: admin_pb2.ListNodesRequest, context: Context
    ) -> admin_pb2.ListNodesResponse:
        """The directory. UNAVAILABLE when the store does not answer, UNIMPLEMENTED without one."""
        if self._nodes is None:
            rule = f"a {self._process} knows no directory"
            await refuse(context, grpc.StatusCode.UNIMPLEMENTED, rule)
        try:
            nodes = await self._nodes()
        except StoreUnavailable as error:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, str(error))
        return admin_pb2.ListNodesResponse(nodes=map(_node, nodes))

    async def WatchEvents(  # noqa: N802
        self, request: admin_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[admin_pb2.Event]:
        """The log, live. RESOURCE_EXHAUSTED when too many are watching."""
        try:
            async with aclosing(logs.tap.watch(request.prefix)) as events:
                async for event in events:
                    yield admin_pb2.Event(**vars(event))
        except TooManyWatchers as error:
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))

    async def SetLogLevel(  # noqa: N802
        self, request: admin_pb2.SetLogLevelRequest, context: Context
    ) -> admin_pb2.SetLogLevelResponse:
        """Log more or less. INVALID_ARGUMENT for an unknown level."""
        if request.level not in LEVELS:
            rule = f"level is one of {', '.join(LEVELS)}"
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, rule)
        reason = await why_of(request.why, context)
        before = logs.level()
        logs.set_level(request.level)
        # At warning, so that it is said at every level but error.
        log.warning("log_level_set", who=who(context.peer()), why=reason, log_level=request.level)
        return admin_pb2.SetLogLevelResponse(level_before=before)


def build_version() -> str:
    """The version of the package, or `unknown` in a source tree that was never installed."""
    try:
        return version("trunkline-server")
    except PackageNotFoundError:
        return "unknown"


def _node(node: Node) -> admin_pb2.Node:
    return admin_pb2.Node(
        index=node.index,
        epoch=node.epoch,
        name=node.name,
        trunk=str(node.trunk),
        admin=str(node.admin) if node.admin else "",
        draining=node.draining,
        live=node.live,
        calls=node.load.calls if node.load else 0,
        capacity=node.load.capacity if node.load else 0,
    )


def _unix_ms() -> int:
    return int(time.time() * 1000)
