"""`relay-flows`: what many flows cost, in speed and in memory."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.benchmark import Progress, Result
from loadtest.relay_bench import rates, traffic
from loadtest.relay_bench.benchmark import Benchmark, Bounds, at_least, at_most
from loadtest.relay_bench.rates import Rate
from loadtest.relay_bench.relay import Relay
from loadtest.relay_bench.rig import Rig, open_rig
from loadtest.relay_bench.sockets import LOOPBACK
from loadtest.relay_bench.spread import ends, middle, ratios

SIZES = (1_000, 10_000, 100_000)
FEWEST, MOST = SIZES[0], SIZES[-1]
MIN_PPS_RATIO = 0.85
MAX_BYTES_A_FLOW = 200
FEW = 8
"""Flows of the relay whose memory is taken off the others'."""


@dataclass
class _Filled:
    """A relay with its flows, and its worker's memory with them."""

    relay: Relay
    pid: int
    flows: int
    rss_bytes: int = 0
    rates: list[Rate] = field(default_factory=list)

    @property
    def pps(self) -> list[float]:
        return [rate.pps for rate in self.rates]

    def bytes_per_flow(self, bare: _Filled) -> float:
        """Memory on top of that of a worker with hardly a flow and no room for more."""
        return (self.rss_bytes - bare.rss_bytes) / self.flows


async def run(bounds: Bounds, progress: Progress) -> Result:
    """One relay for each number of flows, all at once; they are driven in turns."""
    progress.stage("starting")
    async with open_rig() as rig, AsyncExitStack() as stack:
        filled = []
        for flows, capacity in ((FEW, FEW), *((size, MOST) for size in SIZES)):
            progress.stage(f"{flows:,} flows")
            relay = await stack.enter_async_context(rig.open_relay(_room_for(capacity)))
            await rig.make_flows(relay, flows)
            filled.append(_Filled(relay, await relay.worker_pid(), flows))
        for number in range(bounds.runs):
            progress.stage(f"run {number + 1}")
            for one in filled:
                one.rates.append(await _drive(rig, one, bounds.seconds))
            progress.call_done(ok=True)
        for one in filled:
            one.rss_bytes = resident_bytes(one.pid)
            one.flows = await one.relay.flows()
    return _result(*filled)


def _room_for(flows: int) -> dict[str, str]:
    return {"TRUNKLINE_RELAY_FLOW_CAPACITY": str(flows)}


async def _drive(rig: Rig, filled: _Filled, seconds: float) -> Rate:
    """Voice of all its flows in turn, as fast as it goes."""
    to = (LOOPBACK, filled.relay.port)
    stream = traffic.voice(rig.callers, to, filled.flows)
    return await rates.highest(rig.peers.load, stream, rig.node_sink, filled.pid, seconds)


def resident_bytes(pid: int) -> int:
    """Memory of a process, with what it shares (VmRSS, proc(5)). Raises OSError when it is gone."""
    for line in Path("/proc", str(pid), "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmRSS: the process is ending")


def _result(bare: _Filled, *filled: _Filled) -> Result:
    fewest, most = filled[0], filled[-1]
    against_fewest = ratios(most.pps, fewest.pps)
    ratio, each_bytes = middle(against_fewest), most.bytes_per_flow(bare)
    result = Result()
    result.figures = {
        "flows": most.flows,
        "pps_ratio_vs_1k": ratio,
        "bytes_per_flow": round(each_bytes, 1),
        "rss_mb": round(most.rss_bytes / 1e6, 1),
        "bare_rss_mb": round(bare.rss_bytes / 1e6, 1),
        "spread": {"pps_ratio_vs_1k": ends(against_fewest)},
        "by_flows": {str(one.flows): _figures(one, fewest, bare) for one in filled},
    }
    result.checks = [
        at_least(f"rate with {MOST:,} flows over rate with {FEWEST:,}", ratio, MIN_PPS_RATIO),
        at_most("bytes a flow", each_bytes, MAX_BYTES_A_FLOW),
        at_least("flows", most.flows, MOST),
    ]
    return result


def _figures(filled: _Filled, fewest: _Filled, bare: _Filled) -> dict[str, object]:
    return {
        "pps": middle(filled.pps),
        "pps_spread": ends(filled.pps),
        "per_cpu_s": middle([rate.per_cpu_s for rate in filled.rates]),
        "ratio": middle(ratios(filled.pps, fewest.pps)),
        "bytes_per_flow": round(filled.bytes_per_flow(bare), 1),
        "rss_mb": round(filled.rss_bytes / 1e6, 1),
    }


BENCHMARK = Benchmark(
    name="relay-flows",
    summary="What 1,000, 10,000 and 100,000 live flows cost in speed and memory.",
    run=run,
    defaults=Bounds(runs=5, seconds=2.0),
)
