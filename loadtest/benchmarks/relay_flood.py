"""`relay-flood`: live calls while strangers send five times as much."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtest.benchmark import Progress, Result
from loadtest.relay_bench import attacks, redis, traffic
from loadtest.relay_bench.attacks import FEW_NETWORKS, MANY_NETWORKS, Strangers
from loadtest.relay_bench.benchmark import Benchmark, Bounds, at_least, at_most
from loadtest.relay_bench.latency import Latency, quantiles
from loadtest.relay_bench.load import DRAIN_S, Load, Sink, drain, running
from loadtest.relay_bench.rates import SETTLE_S
from loadtest.relay_bench.relay import Relay, drops
from loadtest.relay_bench.rig import Rig, open_rig
from loadtest.relay_bench.sockets import ANY, LOOPBACK, udp
from loadtest.relay_bench.spread import ends, middle
from loadtest.relay_bench.streams import Stream
from trunkline.v1.admin_pb2 import StatsResponse

FLOWS = 200
LIVE_PPS = 20_000
FLOOD_PPS = 100_000
KINDS = 4
MIN_FLOOD_SHARE = 0.95
"""Of the flood must be sent, or the run says nothing."""
MAX_LOSS_PERCENT = 0.1
MAX_P99_MS = 5.0
_STRANGERS, _CALLERS = 1, 2
"""Places among the sinks, after the node's."""


@dataclass(frozen=True)
class _Run:
    """What one stretch of time did to the live calls, and what came of the flood."""

    loss_percent: float
    latency: Latency
    flood_pps: float
    new_flows: int
    redis_writes: int
    to_strangers: int
    to_callers: int


@dataclass
class _Runs:
    quiet: list[_Run] = field(default_factory=list)
    flooded_from: dict[int, list[_Run]] = field(
        default_factory=lambda: {FEW_NETWORKS: [], MANY_NETWORKS: []}
    )

    @property
    def flooded(self) -> list[_Run]:
        """The runs that the bars are for."""
        return self.flooded_from[FEW_NETWORKS]


async def run(bounds: Bounds, progress: Progress) -> Result:
    """A stretch without the flood, then one with it, in turns."""
    runs = _Runs()
    progress.stage("starting")
    async with open_rig() as rig, rig.open_relay() as relay:
        await rig.make_flows(relay, FLOWS)
        with udp(ANY) as strangers:
            for number in range(bounds.runs):
                progress.stage(f"run {number + 1}")
                runs.quiet.append(await _stretch(rig, relay, strangers, [], bounds.seconds))
                for networks, found in runs.flooded_from.items():
                    flood = _flood(rig, relay, Strangers(strangers, networks))
                    found.append(await _stretch(rig, relay, strangers, flood, bounds.seconds))
                progress.call_done(ok=True)
        dropped = drops(await relay.stats())
    return _result(runs, dropped)


def _flood(rig: Rig, relay: Relay, strangers: Strangers) -> list[Stream]:
    public, each = (LOOPBACK, relay.port), FLOOD_PPS / KINDS
    return [
        attacks.garbage(strangers, public, each),
        attacks.forged(strangers, public, rig.node, each),
        attacks.bad_integrity(strangers, public, rig.node, each),
        attacks.replayed(rig.node, relay.trunk, rig.callers_port, each),
    ]


async def _stretch(
    rig: Rig, relay: Relay, strangers: socket.socket, flood: Sequence[Stream], seconds: float
) -> _Run:
    # What the replayed datagrams brought when they were new is not the flood's.
    await asyncio.sleep(DRAIN_S)
    for sock in (rig.node.sock, strangers, rig.callers):
        drain(sock)
    live = traffic.voice(rig.callers, (LOOPBACK, relay.port), FLOWS).one_by_one(LIVE_PPS)
    sinks = [rig.node_sink, Sink(strangers, "plain"), rig.callers_sink]
    made, written = _flows_made(await relay.stats()), await redis.writes(rig.redis_url)
    async with running(rig.peers.load, [live, *flood], sinks) as load:
        await asyncio.sleep(SETTLE_S)
        load.record()
        await asyncio.sleep(seconds)
        load.stop()
        await asyncio.sleep(DRAIN_S)
        made = _flows_made(await relay.stats()) - made
        written = await redis.writes(rig.redis_url) - written
        return _summary(load, seconds + SETTLE_S, made, written)


def _summary(load: Load, seconds: float, made: int, written: int) -> _Run:
    by_sink = load.tally.counts("by_sink")
    lost = load.sent() - load.tally.count("stamped")
    return _Run(
        loss_percent=100 * lost / load.sent(),
        latency=quantiles(load),
        flood_pps=sum(load.sent(stream) for stream in range(1, 1 + KINDS)) / seconds,
        new_flows=made,
        redis_writes=written,
        to_strangers=int(by_sink[_STRANGERS]),
        to_callers=int(by_sink[_CALLERS]),
    )


def _flows_made(stats: StatsResponse) -> int:
    return int(stats.total["flows_made"])


def _result(runs: _Runs, dropped: dict[str, int]) -> Result:
    loss = [one.loss_percent for one in runs.flooded]
    p99_ms = [one.latency["p99"] / 1000 for one in runs.flooded]
    flood_pps = [one.flood_pps for one in runs.flooded]
    new_flows = sum(one.new_flows for one in runs.flooded)
    strays = sum(one.to_strangers + one.to_callers for one in runs.flooded)
    # Live flows may be written again while they are live: only what comes on top is the flood's.
    usual_writes = max(one.redis_writes for one in runs.quiet)
    extra_writes = max(0, *(one.redis_writes - usual_writes for one in runs.flooded))
    wide = runs.flooded_from[MANY_NETWORKS]
    result = Result()
    result.figures = {
        "live_pps": LIVE_PPS,
        "flood_pps": middle(flood_pps),
        "live_loss_percent": middle(loss),
        "p99_ms": middle(p99_ms),
        "p50_ms": middle([one.latency["p50"] / 1000 for one in runs.flooded]),
        "new_flows": new_flows,
        "extra_redis_writes": extra_writes,
        "packets_to_strangers": strays,
        "quiet_loss_percent": middle([one.loss_percent for one in runs.quiet]),
        "quiet_p99_ms": middle([one.latency["p99"] / 1000 for one in runs.quiet]),
        "from_many_networks": {
            "live_loss_percent": middle([one.loss_percent for one in wide]),
            "p99_ms": middle([one.latency["p99"] / 1000 for one in wide]),
            "flood_pps": middle([one.flood_pps for one in wide]),
        },
        "spread": {"live_loss_percent": ends(loss), "p99_ms": ends(p99_ms)},
        "dropped": dropped,
    }
    result.checks = [
        at_most("live loss, %", middle(loss), MAX_LOSS_PERCENT),
        at_most("live p99, ms", middle(p99_ms), MAX_P99_MS),
        at_most("new flows", new_flows, 0),
        at_most("Redis writes for the flood", extra_writes, FLOWS / 10),
        at_most("packets out to strangers", strays, 0),
        at_least("flood packets/s", middle(flood_pps), MIN_FLOOD_SHARE * FLOOD_PPS),
    ]
    return result


BENCHMARK = Benchmark(
    name="relay-flood",
    summary="20,000 live packets/s while strangers send 100,000 hostile ones.",
    run=run,
    defaults=Bounds(runs=5, seconds=3.0),
)
