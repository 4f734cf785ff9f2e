"""`serve`: the whole main program of a backend."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import NoReturn

from trunkline.backend.backend import Backend, Handler
from trunkline.backend.host import Host
from trunkline.backend.leaving import leave
from trunkline.backend.server import BackendServer
from trunkline.process import shell


def serve(backend: Backend | Handler, host: Host | None = None) -> NoReturn:
    """Serve a handler, or a Backend that says more, until SIGTERM or SIGINT.

    Then live calls have `TRUNKLINE_BACKEND_DRAIN_S` to end, or until a second signal. Without a
    `host` the process is the library's own (`trunkline.backend.settings`).

    Raises SystemExit: 0 at the end; 1 after one line on stderr when the address cannot be had or
    `Backend.around` raises StartupError; 2 for a bad variable.
    """
    host = host or Host.from_environment()
    host.configure_log()
    raise SystemExit(shell.run(partial(_live, Backend.of(backend), host)))


async def _live(backend: Backend, host: Host, stop: asyncio.Event) -> None:
    await host.check()
    listen, hold_ms = host.settings.listen, host.settings.hold_ms
    server = BackendServer(backend, listen, host.add_services, hold_ms)
    async with backend.around(), server, host.beside(server):
        await stop.wait()
        await leave(server, host.settings.drain_s, stop)
