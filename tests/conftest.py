"""Fixtures for every test: a real Redis on a free port, and logging left as it was found."""

from __future__ import annotations

import logging
import secrets
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from launcher.redis_server import binary
from tests.virtual_time import Run, virtual_loop

# How long an example takes says something about the machine, not about the code.
settings.register_profile("trunkline", deadline=None)
settings.load_profile("trunkline")

READY = "Ready to accept connections"


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, successors: int = 0) -> int:
    """A port that nobody has, and neither its `successors`.

    Below those that Linux gives to outgoing connections (from 32,768), or one of them might have it
    before the test does.
    """
    while True:
        first = 10_000 + secrets.randbelow(22_000)
        if all(_is_free(port, kind) for port in range(first, first + successors + 1)):
            return first


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass
class RedisServer:
    """A redis-server process without persistence: what it knew is gone when it stops."""

    directory: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Return when it takes connections; raise when it does not start."""
        self.process = subprocess.Popen(
            [
                *(str(binary()), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self.directory)),
                *self.options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout
        if not any(READY in line for line in self.process.stdout):
            self.stop()
            raise RuntimeError(f"redis-server did not start on port {self.port}")

    def stop(self) -> None:
        """End it as a crash would; starting again uses the same port."""
        if self.process:
            self.process.kill()
            self.process.wait()
            if self.process.stdout:
                self.process.stdout.close()
            self.process = None


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the whole run; do not stop it, take `make_redis` for that."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The shared Redis, empty."""
    with socket.create_connection(("127.0.0.1", redis_server.port)) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(64) == b"+OK\r\n"
    return redis_server.url


@pytest.fixture
def make_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Start a Redis of one's own, with command line options such as ("--requirepass", "x")."""
    servers: list[RedisServer] = []

    def make(*options: str) -> RedisServer:
        server = RedisServer(tmp_path, options)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def run() -> Iterator[Run]:
    """Run a coroutine on virtual time; tasks and timers left, and what was reported, fail."""
    with virtual_loop() as run:
        yield run


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A test may configure logging; the next one must not write to its closed stream."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """A test may run a process's shell, which leaves signals ignored; Ctrl-C must still work."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    for number, handler in before:
        signal.signal(number, handler)
