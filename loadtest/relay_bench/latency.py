"""How long packets take: quantiles of one path, and what a forwarder adds to them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher import StartupError
from loadtest.relay_bench.load import Load, Sink, drain, running
from loadtest.relay_bench.rates import SETTLE_S
from loadtest.relay_bench.streams import Stream
from loadtest.relay_bench.tally import quantile_us

QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}

Latency = Mapping[str, float]
"""Microseconds by the names of `QUANTILES`."""


async def latency(
    program: Path, streams: Sequence[Stream], sinks: Sequence[Sink], seconds: float
) -> Latency:
    """Send at the streams' rates and time what comes back. Raises StartupError if nothing does."""
    for sink in sinks:
        drain(sink.sock)
    async with running(program, streams, sinks) as load:
        await asyncio.sleep(SETTLE_S)
        load.record()
        await asyncio.sleep(seconds)
        return quantiles(load)


def quantiles(load: Load) -> Latency:
    """The quantiles of what was recorded. Raises StartupError when that is nothing."""
    histogram = load.tally.counts("histogram").copy()
    if not histogram.any():
        raise StartupError("relay benchmark: nothing came through")
    return {name: quantile_us(histogram, fraction) for name, fraction in QUANTILES.items()}


def added(through: Latency, direct: Latency) -> Latency:
    """The difference of the quantiles; noise may make it less than nothing."""
    return {name: through[name] - direct[name] for name in QUANTILES}
