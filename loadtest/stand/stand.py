"""A fleet from its first process to its last, and where each of its parts is reached."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from launcher import Stack, StackSettings, StartupError
from launcher.keeper import Keeper
from launcher.log import Log
from launcher.variables import without
from loadtest.stand import redis
from loadtest.stand.parts import Plan, plan_fleet, take_ports
from loadtest.stand.shape import Shape
from loadtest.target import Target
from trunkline.process.address import Address

READY_TIMEOUT_S = 90.0
"""Many processes start at once on few cores."""
MASTER = "redis_master"


class Stand:
    """The fleet of a shape, up for the length of an `async with`.

    Entering raises StartupError when a part cannot be started, after ending the others. Parts are
    called `relay-1`, `transceiver-2`, `backend-1`, `redis-1`, `sentinel-3`; one that dies is
    started again, unless it was `kill`ed with `stay_down`.
    """

    def __init__(self, shape: Shape, log: TextIO | None = None) -> None:
        self.shape = shape
        self._log = log
        self._exit = AsyncExitStack()
        self._stack: Stack | None = None
        self._variables: Mapping[str, Mapping[str, str]] = {}

    @property
    def log(self) -> Log:
        """The one log of all parts."""
        return self._started.log

    @property
    def keepers(self) -> Mapping[str, Keeper]:
        """Every part's keeper by its name."""
        return self._started.parts

    @property
    def targets(self) -> tuple[Target, ...]:
        """Where calls are placed: one for each transceiver."""
        settings = [self._variables[name] for name in self.names("transceiver")]
        return tuple(
            Target(
                f"http://{one['TRUNKLINE_TRANSCEIVER_HTTP']}", one["TRUNKLINE_TRANSCEIVER_API_KEYS"]
            )
            for one in settings
        )

    def names(self, kind: str) -> list[str]:
        """The parts of a kind (`relay`, `transceiver`, `backend`, `redis`, `sentinel`)."""
        return [name for name in self.keepers if name.rpartition("-")[0] == kind]

    def setting(self, part: str, name: str) -> str:
        """One setting of one part. Raises KeyError."""
        return self._variables[part][name]

    def admin(self, part: str) -> str:
        """The gRPC target of a relay's or a transceiver's admin API. Raises KeyError."""
        kind = part.rpartition("-")[0].upper()
        return self._variables[part][f"TRUNKLINE_{kind}_ADMIN"]

    async def resolve(self, name: str) -> str:
        """Return the part a fault means: itself, or the server that leads now for `redis_master`.

        Raises StartupError when no such part is there.
        """
        found = await self._master() if name == MASTER else name
        if found not in self.keepers:
            raise StartupError(f"{name}: no such part; there are {', '.join(self.keepers)}")
        return found

    async def kill(self, name: str, *, stay_down: bool) -> None:
        """Kill a part at once. It comes back by itself, unless it is to stay down."""
        keeper = self.keepers[name]
        keeper.kill()
        if stay_down:
            await keeper.stop()  # nobody is there to be asked; this ends the watching

    async def stop(self, name: str) -> None:
        """Ask a part to end, and wait for it; it stays down."""
        await self._started.stop_part(name)

    async def start(self, name: str) -> None:
        """Start a part that was to stay down. Raises StartupError."""
        await self._started.start_part(name)

    async def __aenter__(self) -> Self:
        """Start everything. Raises StartupError."""
        try:
            directory = self._exit.enter_context(
                tempfile.TemporaryDirectory(prefix="trunkline-stand-")
            )
            plan = self._plan(Path(directory))
            self._variables = plan.variables
            stack = Stack(
                StackSettings(ready_timeout_s=READY_TIMEOUT_S, log=self._log), parts=plan.parts
            )
            self._stack = await self._exit.enter_async_context(stack)
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End everything, what others build on last."""
        await self._exit.aclose()

    @property
    def _started(self) -> Stack:
        if self._stack is None:
            raise RuntimeError("the stand has not been entered")
        return self._stack

    def _plan(self, directory: Path) -> Plan:
        environment = {**without(os.environ), "PYTHONUNBUFFERED": "1"}
        redis_ports, ports = take_ports(self.shape)
        if self.shape.redis == "sentinel":
            found = redis.with_sentinels(directory, environment, redis_ports)
        else:
            found = redis.single(directory, environment)
        return plan_fleet(self.shape, found, ports, environment)

    async def _master(self) -> str:
        sentinels = self.names("sentinel")
        for name in sentinels:
            leader = await redis.master_port(self._port(name))
            if leader is not None:
                return self._redis_at(leader)
        return "redis-1" if not sentinels else MASTER

    def _redis_at(self, port: int) -> str:
        names = self.names("redis")
        return next((name for name in names if self._port(name) == port), MASTER)

    def _port(self, name: str) -> int:
        return Address.parse(self.keepers[name].part.address).port
