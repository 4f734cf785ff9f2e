"""CPU and memory of the fleet's processes, summed by kind, read once a second.

Memory is read every MEMORY_EVERY seconds: it moves slowly, and reading it takes fifteen times as
long as CPU does, during which the process that is read cannot map pages.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

from loadtest.relay_bench.cores import cpu_s
from loadtest.residue import family, memory_of
from loadtest.scenario_runs.timeline import Usage

MIB = 1 << 20
MEMORY_EVERY = 5


class UsageMeter:
    """`read` gives what each kind took since the last time; a process that died counts no more."""

    def __init__(self) -> None:
        self._cpu_s: dict[int, float] = {}
        self._read_s = time.monotonic()
        self._readings = 0
        self._memory_mib: dict[str, float] = {}

    def read(self, pids: Mapping[str, Iterable[int]]) -> dict[str, Usage]:
        """Usage by kind; `pids` are the heads of process families."""
        now_s = time.monotonic()
        elapsed_s = max(now_s - self._read_s, 1e-3)
        self._read_s = now_s
        if self._readings % MEMORY_EVERY == 0:
            self._memory_mib = {kind: _memory_mib(heads) for kind, heads in pids.items()}
        self._readings += 1
        return {
            kind: Usage(self._cpu_percent(heads, elapsed_s), self._memory_mib.get(kind, 0.0))
            for kind, heads in pids.items()
        }

    def _cpu_percent(self, heads: Iterable[int], elapsed_s: float) -> float:
        used_s = 0.0
        for head in heads:
            with suppress(OSError):
                used_s += sum(self._since(pid) for pid in family(head))
        return round(100 * used_s / elapsed_s, 1)

    def _since(self, pid: int) -> float:
        try:
            now_s = cpu_s(pid)
        except OSError:
            return 0.0
        before_s = self._cpu_s.get(pid, now_s)
        self._cpu_s[pid] = now_s
        return max(0.0, now_s - before_s)


def _memory_mib(heads: Iterable[int]) -> float:
    memory_bytes = 0
    for head in heads:
        with suppress(OSError):
            memory_bytes += memory_of(head)
    return round(memory_bytes / MIB, 1)
