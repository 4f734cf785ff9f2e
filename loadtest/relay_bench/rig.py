"""The test bench: compiled peers, a Redis, a node, callers' sockets, on cores of their own."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher import StartupError
from loadtest.relay_bench import c_forwarder, peers, traffic
from loadtest.relay_bench import relay as relay_process
from loadtest.relay_bench.cores import Cores, choose_cores, pinned
from loadtest.relay_bench.load import Sink, drain, running
from loadtest.relay_bench.node import Keys, Node, open_node
from loadtest.relay_bench.peers import Peers
from loadtest.relay_bench.redis import private_redis
from loadtest.relay_bench.relay import Relay
from loadtest.relay_bench.sockets import ANY, LOOPBACK, udp

CHECKS_AT_ONCE = 512
FLOW_TIMEOUT_S = 60.0
FLOW_POLL_S = 0.05


@dataclass(frozen=True)
class Rig:
    """`callers` is the socket of all flows: it sends from, and receives at, each one's address."""

    directory: Path
    peers: Peers
    cores: Cores
    redis_url: str
    keys: Keys
    node: Node
    callers: socket.socket

    @property
    def callers_port(self) -> int:
        """The port of every flow."""
        return int(self.callers.getsockname()[1])

    @property
    def node_sink(self) -> Sink:
        """Counts what the relay sends to the node."""
        return Sink(self.node.sock, "trunk")

    @property
    def callers_sink(self) -> Sink:
        """Counts what callers receive."""
        return Sink(self.callers, "plain")

    def settings(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Settings of a relay of this rig."""
        return relay_process.settings(self.redis_url, self.keys, variables)

    def open_relay(
        self, variables: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Relay]:
        """A relay on the forwarder's core."""
        return relay_process.open_relay(self.settings(variables or {}), self.cores)

    def c_forwarder(self) -> AbstractContextManager[c_forwarder.CForwarder]:
        """The C forwarder on the same core."""
        return c_forwarder.c_forwarder(
            self.peers.forwarder, self.node.address, self.cores.forwarder
        )

    async def make_flows(self, relay: Relay, flows: int) -> None:
        """Make flows 0 to `flows` - 1 as clients do. Raises StartupError when some are missing."""
        checks = traffic.checks(self.callers, (LOOPBACK, relay.port), self.node, flows)
        window = min(flows, CHECKS_AT_ONCE)
        drain(self.node.sock)
        async with running(self.peers.load, [checks], [self.node_sink], window=window):
            ends_at = time.monotonic() + FLOW_TIMEOUT_S
            while (made := await relay.flows()) < flows:
                if time.monotonic() > ends_at:
                    raise StartupError(f"relay: made {made} of {flows} flows: {relay.log_tail()}")
                await asyncio.sleep(FLOW_POLL_S)


@asynccontextmanager
async def open_rig() -> AsyncIterator[Rig]:
    """Everything but the relay, for the length of the block. Raises StartupError."""
    cores, keys = choose_cores(), Keys()
    with (
        tempfile.TemporaryDirectory(prefix="trunkline-bench-") as directory,
        pinned(cores.load),
        udp(ANY) as callers,
    ):
        built = peers.build(Path(directory))
        async with private_redis() as url, open_node(url, keys) as node:
            yield Rig(Path(directory), built, cores, url, keys, node, callers)
