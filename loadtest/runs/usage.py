"""CPU and memory of the fleet's processes, summed by kind, read once a second."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

from loadtest.relay_bench.cores import cpu_s
from loadtest.residue import family, usage_of
from loadtest.runs.timeline import Usage

MIB = 1 << 20


class UsageMeter:
    """`read` gives what each kind took since the last time; a process that died counts no more."""

    def __init__(self) -> None:
        self._cpu_s: dict[int, float] = {}
        self._read_s = time.monotonic()

    def read(self, pids: Mapping[str, Iterable[int]]) -> dict[str, Usage]:
        """Usage by kind; `pids` are the heads of process families."""
        now_s = time.monotonic()
        elapsed_s = max(now_s - self._read_s, 1e-3)
        self._read_s = now_s
        return {kind: self._of_kind(heads, elapsed_s) for kind, heads in pids.items()}

    def _of_kind(self, heads: Iterable[int], elapsed_s: float) -> Usage:
        used_s, memory_bytes = 0.0, 0
        for head in heads:
            with suppress(OSError):
                used_s += sum(self._since(pid) for pid in family(head))
                memory_bytes += usage_of(head).memory_bytes
        return Usage(round(100 * used_s / elapsed_s, 1), round(memory_bytes / MIB, 1))

    def _since(self, pid: int) -> float:
        try:
            now_s = cpu_s(pid)
        except OSError:
            return 0.0
        before_s = self._cpu_s.get(pid, now_s)
        self._cpu_s[pid] = now_s
        return max(0.0, now_s - before_s)
