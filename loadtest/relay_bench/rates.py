"""How many packets a second a forwarder passes on, what that costs, and what is lost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from launcher import StartupError
from loadtest.relay_bench.cores import cpu_s, waited_s
from loadtest.relay_bench.load import DRAIN_S, Load, Sink, drain, running
from loadtest.relay_bench.streams import Stream

SETTLE_S = 0.3
HELD_BURST_SHARE = 8
"""At a steady rate bursts are this much smaller than when rates are sought."""
FULL = 0.95
"""From this share of its core on, the forwarder was the limit, not the generator."""


@dataclass(frozen=True)
class Rate:
    """One run: packets a second on the wall and for each second of CPU.

    `busy` is the share of the time the forwarder ran, `waited` the share it was ready to but its
    core was busy with others. `lost` of `sent` packets did not come back.
    """

    pps: float
    per_cpu_s: float
    busy: float
    waited: float
    sent: int
    lost: int

    @property
    def forwarder_was_limit(self) -> bool:
        """Whether the forwarder, not the generator, kept the rate from being higher."""
        return self.busy + self.waited >= FULL


async def highest(program: Path, stream: Stream, sink: Sink, pid: int, seconds: float) -> Rate:
    """The rate at which a window of packets goes round: no buffer overflows, no effort wasted.

    Raises StartupError when nothing goes through.
    """
    drain(sink.sock)
    async with running(program, [stream], [sink]) as load:
        await asyncio.sleep(SETTLE_S)
        window = await _watch(load, pid, seconds)
        lost = load.tally.count("window_lost")
        if load.tally.count("exhausted"):
            raise StartupError("relay benchmark: too few datagrams were prepared")
        return _rate(window, load.sent(), lost)


async def held(
    program: Path, stream: Stream, sink: Sink, pid: int, seconds: float, rate_pps: float
) -> Rate:
    """What is lost at a steady rate."""
    drain(sink.sock)
    paced = stream.at(rate_pps, burst=max(1, stream.burst // HELD_BURST_SHARE))
    async with running(program, [paced], [sink]) as load:
        window = await _watch(load, pid, seconds)
        sent, received = await _stopped(load)
        return _rate(window, sent, sent - received)


async def _stopped(load: Load) -> tuple[int, int]:
    """Frames sent and received once no more are sent."""
    load.stop()
    await asyncio.sleep(DRAIN_S)
    return load.sent(), load.received()


@dataclass(frozen=True)
class _Look:
    """Counts at one moment; the difference of two is a window."""

    at_s: float
    frames: int
    cpu_s: float
    waited_s: float

    @classmethod
    def take(cls, load: Load, pid: int) -> _Look:
        return cls(time.monotonic(), load.received(), cpu_s(pid), waited_s(pid))

    def since(self, before: _Look) -> _Look:
        return _Look(
            self.at_s - before.at_s,
            self.frames - before.frames,
            self.cpu_s - before.cpu_s,
            self.waited_s - before.waited_s,
        )


async def _watch(load: Load, pid: int, seconds: float) -> _Look:
    before = _Look.take(load, pid)
    await asyncio.sleep(seconds)
    window = _Look.take(load, pid).since(before)
    if load.failed or not window.frames:
        raise StartupError("relay benchmark: nothing came through")
    return window


def _rate(window: _Look, sent: int, lost: int) -> Rate:
    return Rate(
        pps=window.frames / window.at_s,
        per_cpu_s=window.frames / window.cpu_s,
        busy=window.cpu_s / window.at_s,
        waited=window.waited_s / window.at_s,
        sent=sent,
        lost=lost,
    )
