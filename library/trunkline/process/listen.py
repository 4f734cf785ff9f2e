"""TCP sockets to listen on: what an address means, and whether it is to be had.

`::` is every address of this machine, of both families, for every process: who wants IPv4 alone
says `0.0.0.0`. It is found out before a library prints its own idea of it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from trunkline.process.address import Address
from trunkline.process.errors import AddressInUse, AddressUnusable


async def check_free(address: Address) -> None:
    """Bind and listen for a moment. Raises as `bind_tcp`; port 0 is always free."""
    sockets = await bind_tcp(address)
    try:
        for bound in sockets:
            bound.listen(1)  # two may bind what one may listen on
    except OSError as error:
        raise _refusal(address, error) from None
    finally:
        for bound in sockets:
            bound.close()


async def bind_tcp(address: Address) -> list[socket.socket]:
    """Sockets that are bound and do not listen yet, one for each family of a host name.

    Raises AddressInUse when somebody listens there, AddressUnusable when it is not ours to use. A
    host name is fine when one of its addresses is.
    """
    sockets: list[socket.socket] = []
    refusal: OSError | None = None
    for family, place in await _resolve(address):
        try:
            sockets.append(_bound(family, place))
        except OSError as error:
            refusal = error
    taken = refusal is not None and refusal.errno == errno.EADDRINUSE
    if refusal and (taken or not sockets):
        for bound in sockets:
            bound.close()
        raise _refusal(address, refusal)
    return sockets


async def _resolve(address: Address) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        raise AddressUnusable(f"cannot listen on {address} (unknown host)") from None
    # Each once: a name may be listed twice.
    return list(dict.fromkeys((entry[0], entry[4]) for entry in found))  # type: ignore[misc]


def _bound(family: socket.AddressFamily, place: tuple[str, int]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As servers do: what is left of earlier connections (TIME_WAIT) must not count as taken.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, place[0] != "::")
        bound.setblocking(False)
        bound.bind(place)
    except OSError:
        bound.close()
        raise
    return bound


def _refusal(address: Address, error: OSError) -> AddressInUse | AddressUnusable:
    if error.errno == errno.EADDRINUSE and address.port:
        return AddressInUse(f"{address} is in use by another process")
    reason = os.strerror(error.errno or errno.EINVAL).lower()
    return AddressUnusable(f"cannot listen on {address} ({reason})")
