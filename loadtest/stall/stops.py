"""Which processes stand still, for how long, and when."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from loadtest.scenario_runs.faults import worker_pid
from loadtest.stand import Stand

LENGTHS_S = (0.3, 1.0, 3.0)
IN_A_ROW = 10
EACH_S = 0.5
APART_S = 1.0  # from the beginning of one to that of the next
RELAY, TRANSCEIVER = "relay", "transceiver"
QUIET_S = 3.0  # of normal life before a stop
AFTER_S = 2.0  # by then sound is on time again


@dataclass(frozen=True)
class Stop:
    """`times` stops in a row of one process."""

    part: str
    length_s: float
    times: int = 1

    @property
    def name(self) -> str:
        """For the report."""
        row = f"{self.times} x " if self.times > 1 else ""
        return f"{self.part} {row}{self.length_s:g} s"


@dataclass(frozen=True)
class Stopped:
    """A stop that was, in Unix times."""

    stop: Stop
    began_s: float
    ended_s: float


def all_stops() -> Iterator[Stop]:
    """The whole programme."""
    for part in (RELAY, TRANSCEIVER):
        yield from (Stop(part, length_s) for length_s in LENGTHS_S)
        yield Stop(part, EACH_S, IN_A_ROW)


async def carry_out(stop: Stop, stand: Stand) -> Stopped:
    """Stop and let go, as often as it says; each time the process that does the work by then."""
    began_s = time.time()
    for number in range(stop.times):
        await asyncio.sleep(began_s + number * APART_S - time.time())
        await _stand_still(await _pid(stop.part, stand), stop.length_s)
    return Stopped(stop, began_s, time.time())


async def _stand_still(pid: int, length_s: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(length_s)
    finally:
        with suppress(ProcessLookupError):  # a relay replaces a worker that hangs
            os.kill(pid, signal.SIGCONT)


async def _pid(part: str, stand: Stand) -> int:
    name = f"{part}-1"
    return await worker_pid(stand, name) if part == RELAY else stand.keepers[name].pid
