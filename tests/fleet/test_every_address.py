"""`::` means every address of this machine, of both families, to every process that listens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from fleet.admin.server import serve
from fleet.directory.directory import Directory
from relay.supervisor import metrics
from relay.supervisor.sockets import open_public, open_trunk
from transceiver.engine.trunk_socket import TrunkSocket
from transceiver.signaling.http_listener import listen
from trunkline.process.address import Address
from trunkline.process.errors import AddressInUse
from trunkline.process.listen import bind_tcp, check_free


@asynccontextmanager
async def http(host: str) -> AsyncIterator[int]:
    listener = await listen(web.Application(), Address(host, 0))
    yield listener.port
    await listener.close()


@asynccontextmanager
async def admin(host: str) -> AsyncIterator[int]:
    server = await serve(Address(host, 0), [], [])
    yield server.port
    await server.close(0)


@asynccontextmanager
async def scraper(host: str) -> AsyncIterator[int]:
    crew: Any = SimpleNamespace(posts=[])
    server = metrics.serve(Address(host, 0), crew, Directory())
    yield server.server_port
    await asyncio.to_thread(server.shutdown)
    server.server_close()


@asynccontextmanager
async def several(host: str) -> AsyncIterator[int]:
    """What the processes of a transceiver share."""
    (bound,) = await bind_tcp(Address(host, 0))
    bound.listen()
    yield bound.getsockname()[1]
    bound.close()


@pytest.mark.parametrize("server", [http, admin, scraper, several])
async def test_tcp_is_answered_on_both_families(server: Any) -> None:
    """A caller reaches it by either; `0.0.0.0` is IPv4 alone, but for gRPC, which takes both."""
    async with server("::") as port:
        assert await reached(port) == ["127.0.0.1", "::1"]
    async with server("0.0.0.0") as port:
        assert await reached(port) == ["127.0.0.1", *(["::1"] if server is admin else [])]


async def reached(port: int) -> list[str]:
    found = []
    for host in ("127.0.0.1", "::1"):
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            continue
        writer.close()
        await writer.wait_closed()
        found.append(host)
    return found


async def test_udp_is_heard_on_both_families() -> None:
    """The relay's public port and its trunk, and the transceiver's."""
    opened = [*open_public("::", free_udp(), 1), *open_trunk("::", 0, 1)]
    for bound in opened:
        heard_on_both(bound, bound.getsockname()[1])
        bound.close()
    trunk = TrunkSocket(Address("::", 0))
    heard_on_both(trunk, trunk.address.port)
    trunk.close()


def free_udp() -> int:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        return int(probe.getsockname()[1])


def heard_on_both(bound: Any, port: int) -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"hello", (host, port))
        with socket.socket(fileno=socket.dup(bound.fileno())) as heard:
            heard.settimeout(5)
            assert heard.recv(100) == b"hello"
            heard.setblocking(False)


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
async def test_a_port_that_somebody_has_is_taken(host: str) -> None:
    """Of one family or of both: whoever would listen on all addresses hears that he cannot."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for attempt in (check_free, bind_tcp):
            with pytest.raises(AddressInUse, match=f"{port} is in use by another process"):
                await attempt(Address(host, port))
