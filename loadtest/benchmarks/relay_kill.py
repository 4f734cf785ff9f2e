"""`relay-kill`: how long callers hear nothing when a worker, or the whole relay, is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from launcher import StartupError
from loadtest.benchmark import Progress, Result
from loadtest.relay_bench import redis, traffic
from loadtest.relay_bench.benchmark import Benchmark, Bounds, at_most
from loadtest.relay_bench.cores import pin
from loadtest.relay_bench.load import DRAIN_S, Load, drain, running
from loadtest.relay_bench.rates import SETTLE_S
from loadtest.relay_bench.relay import Relay, launch
from loadtest.relay_bench.rig import Rig, open_rig
from loadtest.relay_bench.sockets import LOOPBACK
from loadtest.relay_bench.spread import ends, middle

FLOWS = 200
VOICE_PPS = FLOWS * 50
CHECK_INTERVAL_S = 2.5
"""How often Chrome checks a pair that works."""
NAP_US = 50
"""The load sleeps between packets, so that the supervisor finds its core free."""
REPLACE_TIMEOUT_S = 10.0
BACK_TIMEOUT_S = 2 * CHECK_INTERVAL_S
WORKER_LIFE_S = 1.5
"""A crew replaces a worker at once if it lived for a second, later if it did not."""
REMEMBERED_S = 1.5
"""What a relay is given to tell Redis of its flows before it is lost."""
MAX_GAP_MS = {"worker": 100, "relay": 200}
POLL_S = 0.01


@dataclass
class _Gaps:
    """What each repeat cost, by fault."""

    worker_ms: list[float] = field(default_factory=list)
    worker_lost: list[float] = field(default_factory=list)
    quiet_ms: list[float] = field(default_factory=list)
    relay_ms: list[float] = field(default_factory=list)
    no_redis_ms: list[float] = field(default_factory=list)
    outage_ms: list[float] = field(default_factory=list)
    upgrade_lost: list[float] = field(default_factory=list)


async def run(bounds: Bounds, progress: Progress) -> Result:
    """Every fault `runs` times, with media running."""
    gaps = _Gaps()
    progress.stage("starting")
    async with open_rig() as rig:
        await _kill_workers(rig, gaps, bounds, progress)
        await _upgrade(rig, gaps, bounds, progress)
        await _lose_relays(rig, gaps, bounds, progress)
    return _result(gaps)


async def _kill_workers(rig: Rig, gaps: _Gaps, bounds: Bounds, progress: Progress) -> None:
    async with rig.open_relay() as relay:
        await rig.make_flows(relay, FLOWS)
        for number in range(bounds.runs):
            progress.stage(f"worker {number + 1}")
            async with _media(rig, relay) as load:
                gaps.quiet_ms.append(await _longest_gap_ms(load))
                pid = await relay.worker_pid()
                load.tally.put("max_gap_ns", 0)
                os.kill(pid, signal.SIGKILL)
                await _until_replaced(relay, pid, load)
                gaps.worker_ms.append(await _longest_gap_ms(load))
                gaps.worker_lost.append(await _lost(load))
            await asyncio.sleep(WORKER_LIFE_S)
            progress.call_done(ok=True)


async def _upgrade(rig: Rig, gaps: _Gaps, bounds: Bounds, progress: Progress) -> None:
    """A successor with the same settings takes the sockets over; the one before it ends."""
    path = {"TRUNKLINE_RELAY_HANDOVER": str(rig.directory / "handover")}
    async with rig.open_relay(path) as first:
        await rig.make_flows(first, FLOWS)
        holder = first
        try:
            for number in range(bounds.runs):
                progress.stage(f"upgrade {number + 1}")
                async with _media(rig, holder) as load:
                    await asyncio.sleep(SETTLE_S)
                    successor = await _succeed(rig, holder)
                    await asyncio.sleep(SETTLE_S)
                    gaps.upgrade_lost.append(await _lost(load))
                _leave(holder, first)
                holder = successor
        finally:
            _leave(holder, first)


async def _succeed(rig: Rig, holder: Relay) -> Relay:
    """Start the successor; return when it serves and the holder is gone. Raises StartupError."""
    successor = launch(holder.variables, rig.cores)
    ends_at = time.monotonic() + REPLACE_TIMEOUT_S
    while holder.process.poll() is None:
        if successor.process.poll() is not None or time.monotonic() > ends_at:
            text = successor.log_tail()
            _leave(successor, holder)
            raise StartupError(f"relay: the successor did not take over: {text}")
        await asyncio.sleep(POLL_S)
    await successor.until_serving()
    pin(successor.process.pid, rig.cores.load)
    return successor


def _leave(relay: Relay, not_ours: Relay) -> None:
    if relay is not not_ours:
        relay.stop()
        relay.log.close()


async def _lose_relays(rig: Rig, gaps: _Gaps, bounds: Bounds, progress: Progress) -> None:
    """Kill the whole relay and start another on its port: with Redis, and with an empty one."""
    async with rig.open_relay() as first:
        await rig.make_flows(first, FLOWS)
        relay = first
        try:
            for number in range(bounds.runs):
                for found, forgets in ((gaps.relay_ms, False), (gaps.no_redis_ms, True)):
                    progress.stage(f"relay {number + 1}")
                    async with _media(rig, relay) as load:
                        await asyncio.sleep(REMEMBERED_S)
                        await _lose(rig, relay, load, forgets=forgets)
                        _leave(relay, first)
                        relay = launch(relay.variables, rig.cores)
                        found.append(await _silence_ms(rig, relay, load))
                        gaps.outage_ms.append(load.tally.count("max_gap_ns") / 1e6)
        finally:
            _leave(relay, first)


async def _lose(rig: Rig, relay: Relay, load: Load, *, forgets: bool) -> None:
    load.tally.put("max_gap_ns", 0)
    relay.kill()
    if forgets:
        await redis.forget_everything(rig.redis_url)
        await rig.node.renew()
    await asyncio.sleep(DRAIN_S)
    load.tally.put("flow_first_ns", 0)


async def _silence_ms(rig: Rig, relay: Relay, load: Load) -> float:
    """From when the new relay serves until the last flow is heard; at most `BACK_TIMEOUT_S`."""
    await relay.until_serving()
    serving_ns = time.monotonic_ns()
    pin(relay.process.pid, rig.cores.load)
    firsts = load.tally.counts("flow_first_ns")[:FLOWS]
    while not firsts.all():
        if time.monotonic_ns() - serving_ns > BACK_TIMEOUT_S * 1e9:
            return BACK_TIMEOUT_S * 1000
        await asyncio.sleep(POLL_S)
    return max(0.0, (int(firsts.max()) - serving_ns) / 1e6)


@asynccontextmanager
async def _media(rig: Rig, relay: Relay) -> AsyncIterator[Load]:
    """Every flow's voice, and its checks as Chrome sends them."""
    to = (LOOPBACK, relay.port)
    voice = traffic.voice(rig.callers, to, FLOWS).one_by_one(VOICE_PPS)
    checks = traffic.checks(rig.callers, to, rig.node, FLOWS).one_by_one(FLOWS / CHECK_INTERVAL_S)
    drain(rig.node.sock)
    streams, sinks = [voice, checks], [rig.node_sink]
    async with running(rig.peers.load, streams, sinks, nap_us=NAP_US) as load:
        await asyncio.sleep(SETTLE_S)
        yield load


async def _longest_gap_ms(load: Load) -> float:
    """The longest time without a packet since it was set to 0, and a little from now."""
    await asyncio.sleep(SETTLE_S)
    return load.tally.count("max_gap_ns") / 1e6


async def _until_replaced(relay: Relay, dead_pid: int, load: Load) -> None:
    """Wait until another worker has sent something. Raises StartupError."""
    ends_at = time.monotonic() + REPLACE_TIMEOUT_S
    while await relay.worker_pid() in {0, dead_pid}:
        if time.monotonic() > ends_at:
            raise StartupError("relay: the worker was not replaced")
        await asyncio.sleep(POLL_S)
    if not await load.until_done(load.received() + 1, REPLACE_TIMEOUT_S):
        raise StartupError("relay: the new worker forwards nothing")


async def _lost(load: Load) -> float:
    """Packets that never came, once no more are sent."""
    load.stop()
    await asyncio.sleep(DRAIN_S)
    return float(load.sent(0) + load.sent(1) - load.received())


def _result(gaps: _Gaps) -> Result:
    worst = {name: max(values) for name, values in vars(gaps).items()}
    result = Result()
    result.figures = {
        "worker_gap_ms": _short(worst["worker_ms"]),
        "relay_gap_ms": _short(worst["relay_ms"]),
        "relay_gap_no_redis_ms": _short(worst["no_redis_ms"]),
        "upgrade_lost": int(sum(gaps.upgrade_lost)),
        "repeats": len(gaps.worker_ms),
        "worker_lost": middle(gaps.worker_lost),
        "median": {name: middle(values) for name, values in vars(gaps).items()},
        "spread": {name: ends(values) for name, values in vars(gaps).items()},
    }
    result.checks = [
        at_most("longest gap, worker killed, ms", worst["worker_ms"], MAX_GAP_MS["worker"]),
        at_most("longest gap, relay replaced, ms", worst["relay_ms"], MAX_GAP_MS["relay"]),
        at_most(
            "longest gap, relay replaced and Redis empty, ms",
            worst["no_redis_ms"],
            1000 * CHECK_INTERVAL_S + MAX_GAP_MS["relay"],
        ),
        at_most("lost in all upgrades", sum(gaps.upgrade_lost), 0),
    ]
    return result


def _short(value: float) -> float:
    return round(value, 1)


BENCHMARK = Benchmark(
    name="relay-kill",
    summary="What callers miss when a worker or the relay is lost, or the relay is upgraded.",
    run=run,
    defaults=Bounds(runs=20, seconds=1.0),
)
