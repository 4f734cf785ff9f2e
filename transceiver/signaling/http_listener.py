"""The HTTP socket: connections are bounded, and silent ones are closed.

aiohttp closes a connection whose next request head is not there after `keepalive_timeout`, the
first one included; with the body's own time limit (see `body`) and that for unread answers (see
`http_connection`) nothing can be held open by trickling bytes, either way.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from fleet.ending import end
from transceiver.signaling.http_connection import Connections
from trunkline.process.address import Address
from trunkline.process.listen import bind_tcp

IDLE_TIMEOUT_S = 20.0
LINGER_S = 2.0  # how long the rest of a refused body is read and thrown away
MAX_CONNECTIONS = 2048
MAX_NEIGHBOURS = 1024  # connections of other processes of the pod, which strangers cannot fill
MAX_LINE_BYTES = 8190  # of a request line or a header
MAX_HEADERS = 128


class HttpListener:
    """A listening application; made by `listen`. `port` is the one it is bound to."""

    def __init__(
        self,
        runner: web.AppRunner,
        servers: Sequence[asyncio.Server],
        connections: Sequence[Connections],
    ) -> None:
        self._runner = runner
        self._servers = servers
        self._connections = connections
        self._watching = [asyncio.ensure_future(one.watch()) for one in connections]
        self.port: int = servers[0].sockets[0].getsockname()[1]

    def stop_listening(self) -> None:
        """Take no new connections; open ones go on."""
        for server in self._servers:
            server.close()

    async def close(self) -> None:
        """Stop listening, let running requests end for a moment, close everything."""
        self.stop_listening()
        await self._runner.cleanup()
        await end(self._watching)
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
    counters: Counter[str] | None = None,
) -> HttpListener:
    """Serve `app` on an address; port 0 takes any free one.

    `sockets` stand for the address when somebody else has bound it, and become the listener's;
    `unix_path` is served as well, whatever a process that crashed left there; `counters` learns
    which connections were let go, and why. Raises AddressInUse and AddressUnusable.
    """
    bound = sockets or await bind_tcp(address)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError("the application was set up without a server")
    connections, neighbours = (
        Connections(
            server,
            most,
            counters if counters is not None else Counter(),
            access_log=None,
            keepalive_timeout=idle_timeout_s,
            lingering_time=LINGER_S,
            auto_decompress=False,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )
        for most in (max_connections, MAX_NEIGHBOURS)
    )
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(connections.accept, sock=each) for each in bound]
    if unix_path is not None:
        servers.append(await loop.create_unix_server(neighbours.accept, unix_path))
    return HttpListener(runner, servers, (connections, neighbours))
