"""The gRPC server of every process: its own services, health and reflection on one port.

grpcurl -plaintext 127.0.0.1:9201 list
grpcurl -plaintext 127.0.0.1:9201 grpc.health.v1.Health/Check
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fleet.admin.access import AdminAccess, AdminToken
from fleet.admin.guard import AdminGuard
from fleet.admin.tls import AdminTls
from fleet.errors import AddressInUse
from fleet.settings import AdminSettings
from trunkline.process.address import Address
from trunkline.process.health import LIVE
from trunkline.process.listen import check_free

CLOSE_GRACE_S = 0.5
MAX_CONCURRENT_STREAMS = 1024  # per connection

_OPTIONS = (
    # gRPC shares ports by default: two servers would each get some of the calls, silently.
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
)


@dataclass(frozen=True)
class AdminSecurity:
    """How an admin port is protected; without anything it is open to this machine alone."""

    tls: AdminTls | None = None
    tokens: tuple[AdminToken, ...] = ()
    health: Address | None = None  # serves health alone, without TLS: kubelets cannot do it

    @classmethod
    def of(cls, settings: AdminSettings) -> AdminSecurity:
        """As the settings say."""
        certificate, key = settings.admin_tls_cert, settings.admin_tls_key
        tls = AdminTls(certificate, key, settings.admin_client_ca) if certificate and key else None
        return cls(tls, settings.admin_tokens, settings.admin_health)

    def check(self) -> None:
        """Raise BadCertificate for certificates that cannot serve."""
        if self.tls:
            self.tls.check()

    @property
    def access(self) -> AdminAccess:
        """Who may come in."""
        return AdminAccess(self.tokens, certificates=bool(self.tls and self.tls.client_ca))


class _Health(Protocol):
    """The part of grpc_health's aio servicer used here; its stubs leave it out."""

    async def set(self, service: str, status: int) -> None: ...

    async def enter_graceful_shutdown(self) -> None: ...


class AdminServer:
    """A running server; made by `serve`. `port` is the one it is bound to."""

    def __init__(
        self,
        server: grpc.aio.Server,
        port: int,
        health_servicer: _Health,
        service_names: Sequence[str],
        health_server: grpc.aio.Server | None = None,
    ) -> None:
        self._server = server
        self._health_server = health_server
        self._health = health_servicer
        self._service_names = ("", *service_names)
        self.port = port

    async def set_serving(self, serving: bool) -> None:
        """Set the health of the process (service "") and of each of its services."""
        status = health_pb2.HealthCheckResponse
        for name in self._service_names:
            await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def close(self, grace_s: float = CLOSE_GRACE_S) -> None:
        """Report NOT_SERVING, let running calls end for `grace_s`, then cancel them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
        if self._health_server:
            await self._health_server.stop(grace_s)


async def serve(
    address: Address,
    add_services: Sequence[Callable[[grpc.aio.Server], None]],
    service_names: Sequence[str],
    security: AdminSecurity = AdminSecurity(),
) -> AdminServer:
    """Start a server with `add_services`, e.g. `partial(add_RelayAdminServicer_to_server, it)`.

    `service_names` are the full names for reflection and health, which starts as NOT_SERVING; the
    health of LIVE is SERVING until the end. Port 0 takes any free port. Raises AddressInUse,
    AddressUnusable and BadCertificate.
    """
    credentials = security.tls.credentials() if security.tls else None
    await check_free(address)
    server = grpc.aio.server(options=_OPTIONS, interceptors=[AdminGuard(security.access)])
    for add in add_services:
        add(server)
    health_servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    _add_health(health_servicer, server)
    health_server = await _serve_health(health_servicer, security)
    own = (health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection((*service_names, *own), server)
    port = _bind(server, address, credentials)
    admin = AdminServer(server, port, health_servicer, service_names, health_server)
    await admin.set_serving(False)
    await health_servicer.set(LIVE, health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    return admin


def _add_health(servicer: _Health, server: grpc.aio.Server) -> None:
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)


async def _serve_health(servicer: _Health, security: AdminSecurity) -> grpc.aio.Server | None:
    address = security.health
    if address is None:
        return None
    await check_free(address)
    server = grpc.aio.server(options=_OPTIONS, interceptors=[AdminGuard(security.access)])
    _add_health(servicer, server)
    _bind(server, address, None)
    await server.start()
    return server


def _bind(
    server: grpc.aio.Server, address: Address, credentials: grpc.ServerCredentials | None
) -> int:
    try:
        if credentials:
            port = server.add_secure_port(str(address), credentials)
        else:
            port = server.add_insecure_port(str(address))
    except RuntimeError:
        port = 0
    if port == 0:
        # It was free a moment ago, so somebody was quicker.
        raise AddressInUse(f"{address} is in use by another process")
    return port
