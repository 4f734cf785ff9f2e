"""Addresses on this machine: free ports, taken ports, and the address seen from outside."""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import dataclass
from typing import Literal

from launcher.errors import StartupError
from trunkline.process.address import Address

LOOPBACK = "127.0.0.1"
LAST_PORT = 65_535
_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True)
class Binding:
    """A port that a part will bind."""

    protocol: Literal["tcp", "udp"]
    host: str
    port: int

    @classmethod
    def tcp(cls, address: Address) -> Binding:
        """A TCP server's."""
        return cls("tcp", address.host, address.port)


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that are free on loopback for TCP and on all hosts for UDP."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            tcp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            tcp.bind((LOOPBACK, 0))
            port = tcp.getsockname()[1]
            if is_free(Binding("udp", "::", port)):
                ports.append(port)
        return ports


def free_run(count: int) -> int:
    """The first of `count` ports in sequence, each free as those of `free_ports`."""
    while True:
        [first] = free_ports(1)
        others = (Binding("tcp", LOOPBACK, first + n) for n in range(1, count))
        if first + count <= LAST_PORT and all(map(is_free, others)):
            return first


def is_free(binding: Binding) -> bool:
    """Tell whether nobody has the port now; any other reason not to bind it is not judged here."""
    try:
        _bind_and_close(binding)
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def require_free(name: str, binding: Binding) -> None:
    """Raise StartupError when somebody already has the port that the part `name` will bind."""
    if binding.port and not is_free(binding):
        protocol = binding.protocol.upper()
        raise StartupError(f"{name}: {protocol} port {binding.port} is already taken")


def reachable(bound: Address) -> Address:
    """Where a client on this machine reaches a server bound there."""
    return Address(LOOPBACK, bound.port) if bound.unspecified else bound


def outward_host() -> str | None:
    """Return this machine's IPv4 address on its default route; None without one. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.18.0.1", 9))  # RFC 2544 test range; connect() only picks a route
        except OSError:
            return None
        host: str = probe.getsockname()[0]
    return None if Address(host, 0).unspecified else host


def _bind_and_close(binding: Binding) -> None:
    family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
    with socket.socket(family, _TYPES[binding.protocol]) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, binding.host != "::")
        if binding.protocol == "tcp":  # a port in TIME_WAIT is free for a server
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((binding.host, binding.port))
