"""The operator's API of a backend: `BackendAdmin` of admin.proto."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import structlog

from backends.settings import BackendSettings
from fleet.admin import process_admin
from fleet.admin import server as admin
from fleet.admin.answers import Context, calls_page, deadline_of, no_such_call, why_of
from fleet.admin.operator import who
from trunkline.backend.call import Call
from trunkline.v1 import admin_pb2, admin_pb2_grpc

SERVICE_NAME = admin_pb2.DESCRIPTOR.services_by_name["BackendAdmin"].full_name

log = structlog.get_logger(__name__)


class AdminBackend(Protocol):
    """What the admin API needs of a backend."""

    draining: bool

    @property
    def calls(self) -> Sequence[Call]:
        """Live calls of all streams."""

    async def drain(self, deadline_s: float = 0) -> int:
        """Ask for no new calls, hang up after `deadline_s` (0: never); says how many are live."""

    async def undrain(self) -> None:
        """Take calls again."""


class BackendAdmin(admin_pb2_grpc.BackendAdminServicer):
    """The servicer."""

    def __init__(self, backend: AdminBackend) -> None:
        self._backend = backend

    async def ListCalls(  # noqa: N802 - gRPC's name
        self, request: admin_pb2.ListCallsRequest, context: Context
    ) -> admin_pb2.ListBackendCallsResponse:
        """Live calls, oldest first. INVALID_ARGUMENT for a bad page size or token."""
        page = await calls_page(self._backend.calls, request, context)
        return admin_pb2.ListBackendCallsResponse(
            calls=map(_call, page.calls),
            next_page_token=page.next_token,
            total=page.total,
            draining=self._backend.draining,
        )

    async def EndCall(  # noqa: N802
        self, request: admin_pb2.EndCallRequest, context: Context
    ) -> admin_pb2.EndCallResponse:
        """Hang up and log why. NOT_FOUND when it is not live."""
        reason = await why_of(request.why, context)
        found = [call for call in self._backend.calls if call.id == request.call_id]
        if not found:
            await no_such_call(context)
        for call in found:
            call.hang_up("operator")
        log.info(
            "call_ended_by_operator",
            call_id=request.call_id,
            who=who(context.peer()),
            why=reason,
        )
        return admin_pb2.EndCallResponse()

    async def Drain(  # noqa: N802
        self, request: admin_pb2.DrainRequest, context: Context
    ) -> admin_pb2.DrainResponse:
        """Ask for no new calls from now on, or take that back; says how many are live."""
        deadline_s = await deadline_of(request.deadline_s, context)
        reason = await why_of(request.why, context)
        calls = len(self._backend.calls)
        log.info(
            "drain_undone" if request.undo else "drain_asked",
            who=who(context.peer()),
            why=reason,
            calls=calls,
            deadline_s=request.deadline_s,
        )
        if request.undo:
            await self._backend.undrain()
        else:
            await self._backend.drain(deadline_s)
        return admin_pb2.DrainResponse(calls=calls)


@asynccontextmanager
async def serving(settings: BackendSettings, backend: AdminBackend) -> AsyncIterator[int]:
    """Serve the admin port for the length of the block; gives the port it is bound to.

    Raises AddressInUse, AddressUnusable and BadCertificate.
    """
    common = process_admin.ProcessAdmin("backend", settings, nodes=None)
    server = await admin.serve(
        settings.backend_admin,
        [
            partial(admin_pb2_grpc.add_BackendAdminServicer_to_server, BackendAdmin(backend)),
            partial(admin_pb2_grpc.add_ProcessAdminServicer_to_server, common),
        ],
        [SERVICE_NAME, process_admin.SERVICE_NAME],
        admin.AdminSecurity.of(settings),
    )
    try:
        await server.set_serving(True)
        yield server.port
    finally:
        await server.close()


def _call(call: Call) -> admin_pb2.BackendCall:
    return admin_pb2.BackendCall(
        call_id=call.id,
        started_unix_ms=call.started_unix_ms,
        transceiver=call.transceiver,
        audio_format=call.audio_format.name.lower(),
        dropped_frames=call.dropped_frames,
    )
