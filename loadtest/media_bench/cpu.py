"""CPU time of the parts of a stack, and of the callers (this process)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from launcher import Stack
from loadtest.relay_bench.cores import cpu_s, waited_s


@dataclass(frozen=True)
class Busy:
    """CPU seconds by part at one moment; our own are `callers`.

    `waited_s` is how long the main thread of each part was ready to run while its core was busy
    with something else: on a machine of our own, nothing for the engine.
    """

    used_s: Mapping[str, float] = field(default_factory=lambda: {"callers": time.process_time()})
    waited_s: Mapping[str, float] = field(default_factory=dict)
    cores_s: float = 0.0
    """CPU seconds of all processes of the machine, whosever they are."""

    @classmethod
    def of(cls, stack: Stack) -> Busy:
        """Read the clocks of the parts that run; children of a part are not in it."""
        used_s, waits_s = {"callers": time.process_time()}, {}
        for name, keeper in stack.parts.items():
            if keeper.running:
                with suppress(OSError):
                    used_s[name] = cpu_s(keeper.pid)
                    waits_s[name] = waited_s(keeper.pid)
        return cls(used_s, waits_s, _cores_s())

    def until(self, later: Busy) -> Busy:
        """The seconds between this moment and a later one."""
        return Busy(
            _differences(self.used_s, later.used_s),
            _differences(self.waited_s, later.waited_s),
            later.cores_s - self.cores_s,
        )

    @property
    def strangers_s(self) -> float:
        """Of a difference: CPU time of processes that are none of the parts, nor this one."""
        return max(0.0, self.cores_s - sum(self.used_s.values()))


def _differences(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - value for name, value in before.items() if name in after}


def _cores_s() -> float:
    """User, nice and system time of all cores (proc_stat(5)); interrupts are nobody's."""
    total = Path("/proc/stat").read_text().split(maxsplit=4)
    return sum(map(int, total[1:4])) / os.sysconf("SC_CLK_TCK")
