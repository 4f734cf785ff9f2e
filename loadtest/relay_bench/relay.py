"""A relay as operators start it, with its one worker alone on a core."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import IO

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from launcher import StartupError
from loadtest.relay_bench.cores import Cores, pin, pinned
from loadtest.relay_bench.family import kill_family, leashed
from loadtest.relay_bench.node import CLUSTER, Keys
from loadtest.relay_bench.sockets import LOOPBACK, free_port
from trunkline.v1 import admin_pb2, admin_pb2_grpc

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
ADMIN_TIMEOUT_S = 5.0
_POLL_S = 0.005


def free_ports() -> dict[str, str]:
    """Settings that put a relay on ports that are free now."""
    admin, metrics = (free_port(socket.SOCK_STREAM) for _ in range(2))
    return {
        "TRUNKLINE_RELAY_PORT": str(free_port(socket.SOCK_DGRAM)),
        "TRUNKLINE_RELAY_TRUNK_PORT": str(free_port(socket.SOCK_DGRAM)),
        "TRUNKLINE_RELAY_ADMIN": f"{LOOPBACK}:{admin}",
        "TRUNKLINE_RELAY_METRICS": f"{LOOPBACK}:{metrics}",
    }


def settings(redis_url: str, keys: Keys, variables: Mapping[str, str]) -> dict[str, str]:
    """The relay's settings: one worker, idle flows kept for the run; `variables` come last."""
    return {
        "TRUNKLINE_CLUSTER": str(CLUSTER),
        "TRUNKLINE_TOKEN_KEYS": keys.token.export(),
        "TRUNKLINE_TRUNK_KEYS": keys.trunk.export(),
        "TRUNKLINE_REDIS_URL": redis_url,
        "TRUNKLINE_LOG_LEVEL": "warning",
        "TRUNKLINE_RELAY_WORKERS": "1",
        "TRUNKLINE_RELAY_FLOW_IDLE_S": "3600",
        **free_ports(),
        **variables,
    }


@dataclass
class Relay:
    """A relay process; `variables` are its settings."""

    variables: Mapping[str, str]
    cores: Cores
    log: IO[bytes]
    process: subprocess.Popen[bytes]
    started_s: float = field(default_factory=time.monotonic)

    @property
    def port(self) -> int:
        """Where clients send."""
        return int(self.variables["TRUNKLINE_RELAY_PORT"])

    @property
    def trunk(self) -> tuple[str, int]:
        """Where nodes send."""
        return LOOPBACK, int(self.variables["TRUNKLINE_RELAY_TRUNK_PORT"])

    @property
    def _admin(self) -> str:
        return self.variables["TRUNKLINE_RELAY_ADMIN"]

    async def stats(self) -> admin_pb2.StatsResponse:
        """Ask RelayAdmin. Raises grpc.aio.AioRpcError."""
        async with grpc.aio.insecure_channel(self._admin) as channel:
            stub = admin_pb2_grpc.RelayAdminStub(channel)  # type: ignore[no-untyped-call]
            answer: admin_pb2.StatsResponse = await stub.Stats(
                admin_pb2.StatsRequest(), timeout=ADMIN_TIMEOUT_S
            )
            return answer

    async def worker_pid(self) -> int:
        """The process that moves packets now; 0 while there is none."""
        return int((await self.stats()).workers[0].pid)

    async def flows(self) -> int:
        """How many flows it holds."""
        return sum(worker.flows for worker in (await self.stats()).workers)

    async def until_serving(self) -> None:
        """Wait until it says it is healthy. Raises StartupError with the end of its log."""
        async with grpc.aio.insecure_channel(self._admin) as channel:
            while not await _serving(channel):
                if self.process.poll() is not None or self._late():
                    raise StartupError(f"relay: does not serve: {self.log_tail()}")
                await asyncio.sleep(_POLL_S)

    async def until_knows_a_node(self) -> None:
        """Wait until the directory has reached it. Raises StartupError."""
        while not (await self.stats()).nodes:
            if self._late():
                raise StartupError("relay: never heard of the node")
            await asyncio.sleep(_POLL_S)

    def log_tail(self) -> str:
        """The last lines it wrote."""
        self.log.seek(0)
        return self.log.read()[-2000:].decode(errors="replace")

    def kill(self) -> None:
        """End supervisor and workers at once, as a pod that is lost."""
        if self.process.poll() is not None:
            return  # its workers saw that and ended; its number may be another's by now
        kill_family(self.process.pid, STOP_TIMEOUT_S)
        self.process.wait()

    def stop(self) -> None:
        """End it as an operator does; what does not end in time is killed."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT_S)
        self.kill()

    def _late(self) -> bool:
        return time.monotonic() - self.started_s > START_TIMEOUT_S


def drops(stats: admin_pb2.StatsResponse) -> dict[str, int]:
    """What the relay says it dropped, by reason."""
    return {
        name.removeprefix("drop_"): int(count)
        for name, count in stats.total.items()
        if name.startswith("drop_") and count
    }


async def _serving(channel: grpc.aio.Channel) -> bool:
    stub = health_pb2_grpc.HealthStub(channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=ADMIN_TIMEOUT_S)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def launch(variables: Mapping[str, str], cores: Cores) -> Relay:
    """Start the process; it picks its workers' cores from those it may use, then we move it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRUNKLINE_")}
    log = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the relay)
    # Its workers go where the supervisor may go when it starts: it is moved once they are there.
    with pinned(cores.forwarder):
        process = subprocess.Popen(
            leashed([sys.executable, "-m", "relay"]),
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    return Relay(variables, cores, log, process)


@asynccontextmanager
async def open_relay(variables: Mapping[str, str], cores: Cores) -> AsyncIterator[Relay]:
    """A relay that serves and knows a node, for the length of the block. Raises StartupError."""
    relay = launch(variables, cores)
    try:
        await relay.until_serving()
        await relay.until_knows_a_node()
        pin(relay.process.pid, cores.load)
        yield relay
    finally:
        relay.stop()
        relay.log.close()
