"""Whether an address can be used, asked before a library prints its own error."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

from trunkline.process.address import Address
from trunkline.process.errors import AddressInUse, AddressUnusable


async def check_free(address: Address) -> None:
    """Bind and listen for a moment on a TCP address.

    Raises AddressInUse when somebody listens there, AddressUnusable when it is not ours to use. A
    host name is fine when one of its addresses is. Port 0 is always free.
    """
    problems = [_try(family, place) for family, place in await _resolve(address)]
    if errno.EADDRINUSE in problems and address.port:
        raise AddressInUse(f"{address} is in use by another process")
    if 0 not in problems:
        raise AddressUnusable(f"cannot listen on {address} ({os.strerror(problems[0]).lower()})")


async def _resolve(address: Address) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        raise AddressUnusable(f"cannot listen on {address} (unknown host)") from None
    return [(entry[0], entry[4]) for entry in found]  # type: ignore[misc]


def _try(family: socket.AddressFamily, place: tuple[str, int]) -> int:
    """The errno of listening there, 0 when it works."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: what is left of earlier connections (TIME_WAIT) must not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
            probe.listen(1)
        except OSError as error:
            return error.errno or errno.EINVAL
    return 0
