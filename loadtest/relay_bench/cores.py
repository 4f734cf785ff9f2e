"""Which core does what, and the CPU time a process has used."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from launcher import StartupError


@dataclass(frozen=True)
class Cores:
    """`load` carries generator, sink, Redis, supervisor and us; `forwarder` one worker."""

    load: int
    forwarder: int


def choose_cores() -> Cores:
    """Return the first and the last core we may use. Raises StartupError when there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise StartupError("relay benchmark: needs two cores, one to load and one to forward")
    return Cores(load=allowed[0], forwarder=allowed[-1])


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process, and what it starts, on one core for the length of the block."""
    before = os.sched_getaffinity(0)
    pin(os.getpid(), core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin(pid: int, core: int) -> None:
    """Move every thread of a process to one core; one that ends meanwhile needs none."""
    for task in Path("/proc", str(pid), "task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of a process: its CPU clock (clock_getcpuclockid(3)).

    Raises OSError when it is gone.
    """
    # The kernel numbers that clock ~pid, then three bits: whole process, scheduler's precision.
    return time.clock_gettime((~pid << 3) | 2)


def waited_s(pid: int) -> float:
    """Seconds a process was ready to run while its core was busy with others (schedstat)."""
    return int(Path("/proc", str(pid), "schedstat").read_text().split()[1]) / 1e9
