"""The sockets of a benchmark: made here once, inherited by whoever uses them."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"
ANY = "0.0.0.0"
BUFFER_BYTES = 8 * 1024 * 1024
"""As the relay asks for; the kernel may grant less (net.core.rmem_max)."""


def udp(host: str) -> socket.socket:
    """A non-blocking IPv4 socket on a free port. Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        sock.bind((host, 0))
    except OSError:
        sock.close()
        raise
    return sock


def free_port(kind: socket.SocketKind) -> int:
    """A port that nothing holds at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
