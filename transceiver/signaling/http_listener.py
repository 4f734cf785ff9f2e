"""The HTTP socket: connections are bounded, and silent ones are closed.

aiohttp closes a connection whose next request head is not there after `keepalive_timeout`, the
first one included; with the body's own time limit (see `body`) nothing can be held open by
trickling bytes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from fleet.address import Address
from trunkline.process.listen import check_free

IDLE_TIMEOUT_S = 20.0
LINGER_S = 2.0  # how long the rest of a refused body is read and thrown away
MAX_CONNECTIONS = 2048


class _TurnAway(asyncio.Protocol):
    """A connection beyond the bound: closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class HttpListener:
    """A listening application; made by `listen`. `port` is the one it is bound to."""

    def __init__(self, runner: web.AppRunner, servers: Sequence[asyncio.Server]) -> None:
        self._runner = runner
        self._servers = servers
        self.port: int = servers[0].sockets[0].getsockname()[1]

    def stop_listening(self) -> None:
        """Take no new connections; open ones go on."""
        for server in self._servers:
            server.close()

    async def close(self) -> None:
        """Stop listening, let running requests end for a moment, close everything."""
        self.stop_listening()
        await self._runner.cleanup()
        for server in self._servers:
            await server.wait_closed()


async def listen(
    app: web.Application,
    address: Address,
    *,
    idle_timeout_s: float = IDLE_TIMEOUT_S,
    max_connections: int = MAX_CONNECTIONS,
    sockets: Sequence[socket.socket] = (),
    unix_path: Path | None = None,
) -> HttpListener:
    """Serve `app` on an address; port 0 takes any free one.

    `sockets` stand for the address when somebody else has bound it, and become the listener's;
    `unix_path` is served as well, whatever a process that crashed left there. Raises AddressInUse
    and AddressUnusable.
    """
    if not sockets:
        await check_free(address)
    runner = web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        keepalive_timeout=idle_timeout_s,
        lingering_time=LINGER_S,
        auto_decompress=False,
        shutdown_timeout=2.0,
    )
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError("the application was set up without a server")

    def accept() -> asyncio.Protocol:
        return _TurnAway() if len(server.connections) >= max_connections else server()

    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(accept, sock=bound) for bound in sockets]
    if not servers:
        servers.append(await loop.create_server(accept, address.host, address.port))
    if unix_path is not None:
        servers.append(await loop.create_unix_server(accept, unix_path))
    return HttpListener(runner, servers)
