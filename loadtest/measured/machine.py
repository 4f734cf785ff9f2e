"""On which machine, of which commit and when something was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The processor as the kernel names it."""
    for line in CPUINFO.read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


def machine() -> str:
    """One line: processor, cores that this process may use, kernel, Python."""
    cores = len(os.sched_getaffinity(0))
    kernel = platform.release().partition("-")[0]
    return f"{processor()}, {cores} cores, Linux {kernel}, Python {platform.python_version()}"


def commit() -> str:
    """The commit that is checked out, with a plus if files differ from it; empty without git."""
    try:
        head = _git("rev-parse", "--short=8", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    command = ("git", "-C", str(ROOT), *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def today() -> str:
    """The date, in UTC."""
    return datetime.now(UTC).date().isoformat()


def load() -> float:
    """Processes that wanted a core in the last minute: what ran beside a measurement."""
    return round(os.getloadavg()[0], 2)
