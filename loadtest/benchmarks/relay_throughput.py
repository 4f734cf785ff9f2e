"""`relay-throughput`: packets a second through one core, the relay beside a C forwarder."""

from __future__ import annotations

from dataclasses import dataclass, field

from launcher import StartupError
from loadtest.benchmark import Check, Progress, Result
from loadtest.relay_bench import rates, traffic
from loadtest.relay_bench.benchmark import Benchmark, Bounds, at_least, at_most
from loadtest.relay_bench.c_forwarder import CForwarder
from loadtest.relay_bench.load import Sink, running
from loadtest.relay_bench.packets import FRAMES_A_DATAGRAM
from loadtest.relay_bench.rates import SETTLE_S, Rate
from loadtest.relay_bench.relay import Relay, drops
from loadtest.relay_bench.rig import Rig, open_rig
from loadtest.relay_bench.sockets import LOOPBACK
from loadtest.relay_bench.spread import ends, middle, ratios
from loadtest.relay_bench.streams import Stream
from wire import trunk
from wire.errors import WireError

FLOWS = 200
MIN_UP_RATIO = 1.3
MIN_DOWN_RATIO = 0.9
HELD_SHARE = 0.8
MOST_DOWN_PPS = 1_000_000
"""What trunk datagrams are prepared for: no relay gets through more on one core."""
SAMPLE_FRAMES = 20_000
SAMPLE_TIMEOUT_S = 5.0
DIRECTIONS = ("up", "c_up", "down", "c_down")


@dataclass
class _Runs:
    """The rates found, by direction, and the runs at `HELD_SHARE` of them."""

    found: dict[str, list[Rate]] = field(default_factory=lambda: {name: [] for name in DIRECTIONS})
    held: dict[str, list[Rate]] = field(default_factory=lambda: {"up": [], "down": []})

    def of(self, name: str, what: str) -> list[float]:
        """One field of every run of a direction."""
        return [float(getattr(rate, what)) for rate in self.found[name]]


@dataclass(frozen=True)
class _Course:
    """Both forwarders, with what is sent through them."""

    rig: Rig
    relay: Relay
    relay_pid: int
    peer: CForwarder

    def up(self) -> Stream:
        return traffic.voice(self.rig.callers, (LOOPBACK, self.relay.port), FLOWS)

    def c_up(self) -> Stream:
        return traffic.voice(self.rig.callers, (LOOPBACK, self.peer.port), FLOWS)

    def down(self, frames: float) -> Stream:
        datagrams = int(frames / FRAMES_A_DATAGRAM)
        node, port = self.rig.node, self.rig.callers_port
        return traffic.trunk(node, self.relay.trunk, FLOWS, port, datagrams)

    def c_down(self) -> Stream:
        return traffic.keyed(self.rig.node, self.peer.upstream, FLOWS, self.rig.callers_port)

    async def highest(self, stream: Stream, sink: Sink, pid: int, seconds: float) -> Rate:
        return await rates.highest(self.rig.peers.load, stream, sink, pid, seconds)

    async def held(self, stream: Stream, sink: Sink, seconds: float, pps: float) -> Rate:
        return await rates.held(
            self.rig.peers.load, stream, sink, self.relay_pid, seconds, HELD_SHARE * pps
        )


async def run(bounds: Bounds, progress: Progress) -> Result:
    """Measure both forwarders in turns, both ways, and what the relay loses below its limit."""
    runs = _Runs()
    progress.stage("starting")
    async with open_rig() as rig, rig.open_relay() as relay:
        await rig.make_flows(relay, FLOWS)
        with rig.c_forwarder() as peer:
            course = _Course(rig, relay, await relay.worker_pid(), peer)
            bad_tags = await _bad_tags(course)
            for number in range(bounds.runs):
                progress.stage(f"run {number + 1}")
                await _measure_up(course, runs, bounds.seconds)
                await _measure_down(course, runs, bounds.seconds)
                progress.call_done(ok=True)
        dropped = drops(await relay.stats())
    return _result(runs, bad_tags, dropped)


async def _measure_up(course: _Course, runs: _Runs, seconds: float) -> None:
    """Relay, C forwarder, and at once the relay below its rate: machines change their speed."""
    rig = course.rig
    ours = await course.highest(course.up(), rig.node_sink, course.relay_pid, seconds)
    runs.found["up"].append(ours)
    keyed_sink = Sink(rig.node.sock, "keyed")
    theirs = await course.highest(course.c_up(), keyed_sink, course.peer.pid, seconds)
    runs.found["c_up"].append(theirs)
    runs.held["up"].append(await course.held(course.up(), rig.node_sink, seconds, ours.pps))


async def _measure_down(course: _Course, runs: _Runs, seconds: float) -> None:
    sink = course.rig.callers_sink
    prepared = course.down((seconds + 2 * SETTLE_S) * MOST_DOWN_PPS)
    ours = await course.highest(prepared, sink, course.relay_pid, seconds)
    runs.found["down"].append(ours)
    theirs = await course.highest(course.c_down(), sink, course.peer.pid, seconds)
    runs.found["c_down"].append(theirs)
    prepared = course.down((seconds + 1) * ours.pps)
    runs.held["down"].append(await course.held(prepared, sink, seconds, ours.pps))


async def _bad_tags(course: _Course) -> int:
    """How many of a sample of trunk datagrams the node would refuse. Raises without a sample."""
    rig = course.rig
    async with running(rig.peers.load, [course.up()], [rig.node_sink]) as load:
        await load.until_done(SAMPLE_FRAMES, SAMPLE_TIMEOUT_S)
        samples = load.tally.samples()
    if not samples:
        raise StartupError("relay: no trunk datagram reached the node")
    return sum(not _is_good(datagram, rig) for datagram in samples)


def _is_good(datagram: bytes, rig: Rig) -> bool:
    try:
        trunk.read(rig.node.tagger, datagram)
    except WireError:
        return False
    return True


def _result(runs: _Runs, bad_tags: int, dropped: dict[str, int]) -> Result:
    up_ratios = ratios(runs.of("up", "pps"), runs.of("c_up", "pps"))
    down_ratios = ratios(runs.of("down", "pps"), runs.of("c_down", "pps"))
    pps = {f"{name}_pps": runs.of(name, "pps") for name in DIRECTIONS}
    per_cpu = {f"{name}_per_cpu_s": runs.of(name, "per_cpu_s") for name in DIRECTIONS}
    cpu_ratios = {
        f"{name}_per_cpu_ratio": ratios(
            runs.of(name, "per_cpu_s"), runs.of(f"c_{name}", "per_cpu_s")
        )
        for name in ("up", "down")
    }
    measured = {**pps, "up_ratio": up_ratios, "down_ratio": down_ratios, **per_cpu, **cpu_ratios}
    lost = {name: [float(rate.lost) for rate in held] for name, held in runs.held.items()}
    result = Result()
    result.figures = {
        **{name: middle(values) for name, values in measured.items()},
        "spread": {name: ends(values) for name, values in measured.items()},
        "limit": {name: _limit(rates) for name, rates in runs.found.items()},
        "waited": {name: middle(runs.of(name, "waited")) for name in DIRECTIONS},
        "lost_at_80": {name: middle(counts) for name, counts in lost.items()},
        "lost_at_80_spread": {name: ends(counts) for name, counts in lost.items()},
        "dropped": dropped,
    }
    result.checks = [
        at_least("up ratio", middle(up_ratios), MIN_UP_RATIO),
        at_least("down ratio", middle(down_ratios), MIN_DOWN_RATIO),
        *(at_most(f"lost at 80 %, {name}", middle(counts), 0) for name, counts in lost.items()),
        Check("tags hold", bad_tags == 0, f"{bad_tags} bad in the sample"),
    ]
    return result


def _limit(found: list[Rate]) -> str:
    """What was the limit in most of the runs."""
    by_forwarder = sum(rate.forwarder_was_limit for rate in found)
    return "forwarder" if by_forwarder * 2 > len(found) else "generator"


BENCHMARK = Benchmark(
    name="relay-throughput",
    summary="Packets a second through one core, the relay beside a C forwarder, both ways.",
    run=run,
    defaults=Bounds(runs=5, seconds=2.0),
)
