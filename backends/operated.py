"""A backend that a fleet operates: an admin port beside it, reflection, a log with redaction."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import NoReturn

import grpc.aio
from grpc_reflection.v1alpha import reflection

from backends.admin import serving as admin_port
from backends.settings import BackendSettings
from fleet import logs
from fleet.admin.server import AdminSecurity
from trunkline.backend import Backend, BackendServer, Handler, Host, Settings
from trunkline.backend import serve as serve_on
from trunkline.backend.server import SERVICE
from trunkline.process.health import SERVICE_NAME as HEALTH
from trunkline.process.listen import check_free


class OperatedHost(Host):
    """The process of each backend that comes with Trunkline."""

    def __init__(self, settings: BackendSettings) -> None:
        listen, drain_s = settings.backend_listen, settings.backend_drain_s
        super().__init__(Settings(listen, drain_s, hold_ms=settings.backend_hold_ms))
        self._all = settings

    def configure_log(self) -> None:
        """As in every process of a fleet."""
        logs.configure(self._all.log_level, self._all.log_format, process="backend")

    async def check(self) -> None:
        """Raise BadCertificate, AddressInUse or AddressUnusable for the admin port."""
        AdminSecurity.of(self._all).check()
        await check_free(self._all.backend_admin)

    def add_services(self, server: grpc.aio.Server) -> None:
        """Tell who asks what is served here."""
        reflection.enable_server_reflection((SERVICE, HEALTH, reflection.SERVICE_NAME), server)

    def beside(self, server: BackendServer) -> AbstractAsyncContextManager[object]:
        """The admin port."""
        return admin_port(self._all, server)


def serve(backend: Backend | Handler, settings: BackendSettings) -> NoReturn:
    """`trunkline.backend.serve`, operated. Raises SystemExit as it does."""
    serve_on(backend, OperatedHost(settings))
