"""The relay's sockets, opened by the supervisor and inherited by workers.

All public sockets of a relay share one port through SO_REUSEPORT; the kernel spreads clients over
them by address. The supervisor keeps every socket open: closing one of the group would make the
kernel deal all clients anew, and lose what was queued.
"""

from __future__ import annotations

import errno
import ipaddress
import socket

from fleet.errors import AddressInUse, AddressUnusable

RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024  # a second of 20,000 packets/s; the kernel may grant less


def open_public(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets on one port. Raises AddressInUse or AddressUnusable."""
    # A relay of the same user would join the group silently and take half the clients: ask for
    # the port alone first.
    _bind(host, port, reuse_port=False).close()
    return [_bind(host, port, reuse_port=True) for _ in range(count)]


def open_trunk(host: str, first_port: int, count: int) -> list[socket.socket]:
    """One socket a worker, on ports of their own. Raises AddressInUse or AddressUnusable."""
    return [
        _bind(host, first_port + number if first_port else 0, reuse_port=False)
        for number in range(count)
    ]


def _bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((_mapped(host), port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"UDP port {port} is already taken") from None
        raise AddressUnusable(f"UDP {host} port {port}: {error.strerror}") from None
    return sock


def _mapped(host: str) -> str:
    address = ipaddress.ip_address(host)
    return host if address.version == 6 else f"::ffff:{host}"
