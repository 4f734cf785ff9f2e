"""The C programs of `loadtest/peers`, compiled when a benchmark starts."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from launcher import StartupError

SOURCES = Path(__file__).parent.parent / "peers"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
COMPILE_TIMEOUT_S = 60


@dataclass(frozen=True)
class Peers:
    """Where the compiled programs are."""

    forwarder: Path
    load: Path


def build(directory: Path) -> Peers:
    """Compile into `directory`. Raises StartupError without a compiler, or with its complaint."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise StartupError("relay benchmark: needs a C compiler (cc) on the PATH")
    return Peers(*(_compile(compiler, name, directory) for name in ("forwarder", "load")))


def _compile(compiler: str, name: str, directory: Path) -> Path:
    program = directory / name
    command = [compiler, *FLAGS, "-o", str(program), str(SOURCES / f"{name}.c")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise StartupError(f"relay benchmark: {name}.c does not compile: {done.stderr.strip()}")
    return program
