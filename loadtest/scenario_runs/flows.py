"""Synthetic flows beside the calls: a node that answers nothing, and a generator in C.

The flows are made as callers make them, by checks that the relay admits, and then carry packets
that it routes. So its tables are as full, and its sockets as busy, as with that many callers, and
they cost this machine almost nothing else.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

from launcher import StartupError
from launcher.addresses import LOOPBACK
from loadtest.relay_bench import peers, traffic
from loadtest.relay_bench.load import Sink, drain, running
from loadtest.relay_bench.node import Keys, open_node
from loadtest.relay_bench.sockets import ANY, udp
from loadtest.scenario_runs.scenario_file import Flows
from loadtest.stand import Stand
from trunkline.v1 import admin_pb2, admin_pb2_grpc
from wire.keys import KeyRing

RELAY = "relay-1"
CHECKS_AT_ONCE = 256
MAKE_TIMEOUT_S = 120.0
POLL_S = 0.2
NAP_US = 50
BURST = 8
ROOM = 1.25
"""Checks are dealt to the relay's workers by chance: one may get more than its part."""
IDLE_S = 3600


def variables(flows: Flows) -> dict[str, str]:
    """Settings of a relay that is to hold so many."""
    return {
        "TRUNKLINE_RELAY_FLOW_CAPACITY": str(max(1000, round(ROOM * flows.count))),
        "TRUNKLINE_RELAY_FLOW_IDLE_S": str(IDLE_S),
    }


@asynccontextmanager
async def flowing(stand: Stand, flows: Flows | None) -> AsyncIterator[None]:
    """Keep the flows busy for the length of the block; nothing happens for None.

    They are those of `relay-1`. Raises StartupError when it does not take them all, or when there
    is no C compiler.
    """
    if flows is None:
        yield
        return
    keys = Keys(
        *(KeyRing.parse(stand.setting(RELAY, f"TRUNKLINE_{n}_KEYS")) for n in ("TOKEN", "TRUNK"))
    )
    to = (LOOPBACK, int(stand.setting(RELAY, "TRUNKLINE_RELAY_PORT")))
    with tempfile.TemporaryDirectory(prefix="trunkline-flows-") as directory, udp(ANY) as callers:
        program = peers.build(Path(directory)).load
        url = stand.setting(RELAY, "TRUNKLINE_REDIS_URL")
        async with open_node(url, keys) as node:
            checks = traffic.checks(callers, to, node, flows.count)
            sink = Sink(node.sock, "trunk")
            async with running(program, [checks], [sink], window=CHECKS_AT_ONCE, nap_us=NAP_US):
                await _until_made(stand, flows.count)
            drain(node.sock)
            voice = traffic.voice(callers, to, flows.count, 1).at(flows.packets_per_s, BURST)
            async with running(program, [voice], [sink], nap_us=NAP_US):
                yield


async def _until_made(stand: Stand, count: int) -> None:
    ends_at_s = time.monotonic() + MAKE_TIMEOUT_S
    while (made := await live_flows(stand)) < count:
        if time.monotonic() > ends_at_s:
            raise StartupError(f"flows: {made} of {count} were made")
        await asyncio.sleep(POLL_S)


async def live_flows(stand: Stand) -> int:
    """How many flows the relay holds. Raises grpc.aio.AioRpcError."""
    async with grpc.aio.insecure_channel(stand.admin(RELAY)) as channel:
        stub = admin_pb2_grpc.RelayAdminStub(channel)  # type: ignore[no-untyped-call]
        stats = await stub.Stats(admin_pb2.StatsRequest(), timeout=MAKE_TIMEOUT_S)
    return sum(worker.flows for worker in stats.workers)
