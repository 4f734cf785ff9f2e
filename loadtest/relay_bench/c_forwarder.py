"""The C forwarder beside which the relay is measured, as a process on the forwarder's core."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.relay_bench.cores import pin
from loadtest.relay_bench.sockets import LOOPBACK, udp
from loadtest.relay_bench.tally import FORWARDER, Tally

BATCH = 128
"""As many packets a system call as the relay takes."""


@dataclass(frozen=True)
class CForwarder:
    """A running forwarder: where clients and where the node send, and its process."""

    port: int
    upstream: tuple[str, int]
    pid: int
    tally: Tally


@contextmanager
def c_forwarder(program: Path, node: tuple[str, int], core: int) -> Iterator[CForwarder]:
    """Run it for the length of the block, forwarding to `node`."""
    tally = Tally(FORWARDER)
    with udp(LOOPBACK) as clients, udp(LOOPBACK) as upstream:
        upstream.connect(node)
        fds = [clients.fileno(), upstream.fileno(), tally.fd]
        process = subprocess.Popen(
            [str(program), *(str(fd) for fd in fds), str(BATCH)], pass_fds=fds
        )
        try:
            pin(process.pid, core)
            yield CForwarder(_port(clients), upstream.getsockname(), process.pid, tally)
        finally:
            process.kill()
            process.wait()
            tally.close()


def _port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])
