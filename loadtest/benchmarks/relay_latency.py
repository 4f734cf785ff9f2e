"""`relay-latency`: what the relay adds to a packet's way, beside a direct loopback path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from loadtest.benchmark import Progress, Result
from loadtest.relay_bench import traffic
from loadtest.relay_bench.benchmark import Benchmark, Bounds, at_most
from loadtest.relay_bench.c_forwarder import CForwarder
from loadtest.relay_bench.latency import QUANTILES, Latency, added, latency
from loadtest.relay_bench.load import Sink
from loadtest.relay_bench.relay import Relay
from loadtest.relay_bench.rig import Rig, open_rig
from loadtest.relay_bench.sockets import LOOPBACK
from loadtest.relay_bench.spread import ends, middle
from loadtest.relay_bench.streams import Stream

FLOWS = 200
RATES_PPS = (1_000, 20_000, 100_000)
HEADLINE_PPS = 20_000
MAX_ADDED_US = {"p50": 80, "p99": 300}
_Path = Callable[[], tuple[Stream, Sink]]
PATHS = ("up", "down", "c_up", "c_down")


@dataclass
class _Runs:
    """Latency added, run by run, by rate and path; `direct` is the path without a forwarder."""

    added: dict[tuple[int, str], list[Latency]] = field(default_factory=dict)
    direct: dict[int, list[Latency]] = field(default_factory=dict)

    def note(self, rate_pps: int, path: str, through: Latency, direct: Latency) -> None:
        self.added.setdefault((rate_pps, path), []).append(added(through, direct))


@dataclass(frozen=True)
class _Course:
    """The paths a packet can take."""

    rig: Rig
    relay: Relay
    peer: CForwarder

    def direct(self) -> tuple[Stream, Sink]:
        stream = traffic.voice(self.rig.callers, self.rig.node.address, FLOWS)
        return stream, Sink(self.rig.node.sock, "plain")

    def up(self) -> tuple[Stream, Sink]:
        to = (LOOPBACK, self.relay.port)
        return traffic.voice(self.rig.callers, to, FLOWS), self.rig.node_sink

    def c_up(self) -> tuple[Stream, Sink]:
        to = (LOOPBACK, self.peer.port)
        return traffic.voice(self.rig.callers, to, FLOWS), Sink(self.rig.node.sock, "keyed")

    def down(self, frames: float) -> tuple[Stream, Sink]:
        rig = self.rig
        stream = traffic.trunk_singles(
            rig.node, self.relay.trunk, FLOWS, rig.callers_port, int(frames)
        )
        return stream, rig.callers_sink

    def c_down(self) -> tuple[Stream, Sink]:
        rig = self.rig
        stream = traffic.keyed(rig.node, self.peer.upstream, FLOWS, rig.callers_port)
        return stream, rig.callers_sink

    async def time(self, path: _Path, rate_pps: int, seconds: float) -> Latency:
        """One packet at a time, evenly spaced."""
        stream, sink = path()
        paced = stream.one_by_one(rate_pps)
        return await latency(self.rig.peers.load, [paced], [sink], seconds)


async def run(bounds: Bounds, progress: Progress) -> Result:
    """Time every path at every rate, in turns."""
    runs = _Runs()
    progress.stage("starting")
    async with open_rig() as rig, rig.open_relay() as relay:
        await rig.make_flows(relay, FLOWS)
        with rig.c_forwarder() as peer:
            course = _Course(rig, relay, peer)
            # The C forwarder learns its clients on the way up.
            await course.time(course.c_up, HEADLINE_PPS, 0.1)
            for number in range(bounds.runs):
                for rate_pps in RATES_PPS:
                    progress.stage(f"run {number + 1}, {rate_pps:,}/s")
                    await _measure(course, runs, rate_pps, bounds.seconds)
                progress.call_done(ok=True)
    return _result(runs)


async def _measure(course: _Course, runs: _Runs, rate_pps: int, seconds: float) -> None:
    direct = await course.time(course.direct, rate_pps, seconds)
    runs.direct.setdefault(rate_pps, []).append(direct)
    down = partial(course.down, rate_pps * (seconds + 1))
    paths: tuple[_Path, ...] = (course.up, down, course.c_up, course.c_down)
    for name, path in zip(PATHS, paths, strict=True):
        runs.note(rate_pps, name, await course.time(path, rate_pps, seconds), direct)


def _result(runs: _Runs) -> Result:
    rates = {str(rate): _at_rate(runs, rate) for rate in RATES_PPS}
    headline = {f"added_us_{name}": middle(_worse(runs, HEADLINE_PPS, name)) for name in QUANTILES}
    result = Result()
    result.figures = {
        **headline,
        "spread": {
            f"added_us_{name}": ends(_worse(runs, HEADLINE_PPS, name)) for name in QUANTILES
        },
        "rates": rates,
    }
    result.checks = [
        at_most(f"added {name} at {HEADLINE_PPS:,}/s, µs", headline[f"added_us_{name}"], bar)
        for name, bar in MAX_ADDED_US.items()
    ]
    return result


def _at_rate(runs: _Runs, rate_pps: int) -> dict[str, object]:
    """The worse direction on top, then every path, then the path that all is compared with."""
    return {
        **{f"added_us_{name}": middle(_worse(runs, rate_pps, name)) for name in QUANTILES},
        **{path: _medians(runs.added[rate_pps, path]) for path in PATHS},
        "direct": _medians(runs.direct[rate_pps]),
    }


def _worse(runs: _Runs, rate_pps: int, name: str) -> list[float]:
    """One quantile of each run, of the direction to which the relay adds more."""
    pairs = zip(runs.added[rate_pps, "up"], runs.added[rate_pps, "down"], strict=True)
    return [max(up[name], down[name]) for up, down in pairs]


def _medians(latencies: Sequence[Latency]) -> dict[str, float]:
    return {name: middle([latency[name] for latency in latencies]) for name in QUANTILES}


BENCHMARK = Benchmark(
    name="relay-latency",
    summary="What the relay adds to a packet's way, at three rates, beside a direct path.",
    run=run,
    defaults=Bounds(runs=5, seconds=2.0),
)
