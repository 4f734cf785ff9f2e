"""A whole Trunkline on this machine, from its start to its end."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from fleet.api_key import ApiKey
from launcher.addresses import reachable, require_free
from launcher.backend_choice import choose
from launcher.errors import StartupError
from launcher.keeper import Keeper
from launcher.log import Log
from launcher.part import Part
from launcher.plan import plan, records_api_part, records_part
from launcher.redis_server import redis_part
from launcher.variables import Ports, fill, given_in, without
from trunkline.process.address import Address

RECORDS = "sqlite:///artifacts/records.db"


@dataclass(frozen=True)
class StackSettings:
    """How to run a stack. The default suits tests: free ports, nothing taken from outside."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`TRUNKLINE_*` variables that win over what the stack would choose."""
    ports: Ports | None = None
    """Ports where `variables` names none; None picks free ones."""
    loopback_only: bool = True
    """Bind and advertise the relay on loopback; else on every address of this machine."""
    log: TextIO | None = None
    """Where the one log goes; None keeps its last lines in memory only."""
    ready_timeout_s: float = 20.0
    stop_timeout_s: float = 5.0
    backend: str = "echo"
    """What `launcher.backend_choice.choose` takes."""
    records: str = ""
    """Where a recorder keeps the record of calls, unless `variables` say; "": there is none."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], backend: str) -> StackSettings:
        """What `python -m launcher` runs: well-known ports, the environment wins, log on stderr."""
        variables = {"TRUNKLINE_LOG_FORMAT": "console", **given_in(environ)}
        return cls(
            variables,
            ports=Ports(),
            loopback_only=False,
            log=sys.stderr,
            ready_timeout_s=60.0,  # a machine with other things to do loads models in half of it
            backend=backend,
            records=RECORDS,
        )


class Stack:
    """Redis, backend, relay and transceiver, up for the length of an `async with`.

    Entering raises StartupError when a part cannot be started, after ending the others. A part
    that dies later is restarted. `parts` may be given to run other commands under the same rules.
    """

    def __init__(
        self, settings: StackSettings | None = None, parts: Sequence[Part] | None = None
    ) -> None:
        self.settings = settings or StackSettings()
        self.log = Log(self.settings.log)
        self.variables: dict[str, str] = {}
        self.parts: dict[str, Keeper] = {}
        self._given_parts = parts
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    @property
    def console_url(self) -> str:
        """Where the console and the HTTP API are, as a client on this machine reaches them."""
        return f"http://{_reachable(self.variables['TRUNKLINE_TRANSCEIVER_HTTP'])}"

    @property
    def api_key(self) -> str:
        """The first API key, without its tenant."""
        first, *_ = self.variables["TRUNKLINE_TRANSCEIVER_API_KEYS"].split(",")
        return ApiKey.parse(first).key

    @property
    def relay_addresses(self) -> tuple[str, ...]:
        """The advertised relay addresses, `host:port` each."""
        return tuple(self.variables["TRUNKLINE_TRANSCEIVER_RELAYS"].replace(" ", "").split(","))

    @property
    def relay_admin(self) -> str:
        """The gRPC target of RelayAdmin and the relay's health."""
        return _reachable(self.variables["TRUNKLINE_RELAY_ADMIN"])

    @property
    def transceiver_admin(self) -> str:
        """The gRPC target of TransceiverAdmin and the transceiver's health."""
        return _reachable(self.variables["TRUNKLINE_TRANSCEIVER_ADMIN"])

    @property
    def backend_address(self) -> str:
        """The gRPC target of the model backend and its health."""
        return _reachable(self.variables["TRUNKLINE_BACKEND_LISTEN"])

    @property
    def backend_admin(self) -> str:
        """The gRPC target of BackendAdmin."""
        return _reachable(self.variables["TRUNKLINE_BACKEND_ADMIN"])

    async def __aenter__(self) -> Self:
        """Start everything. Raises StartupError, whose text is one line for the user."""
        try:
            self._plan()
            await self._start_all()
        except BaseException:
            await self._stop_all()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End everything, the parts that others build on last."""
        await self._stop_all()

    async def start_part(self, name: str) -> None:
        """Start a part that `stop_part` ended. Raises StartupError; KeyError for no such part."""
        await self.parts[name].start()
        self.parts[name].watch()

    async def stop_part(self, name: str) -> None:
        """End one part; it stays down. Raises KeyError when there is no such part."""
        await self.parts[name].stop()

    def kill(self) -> None:
        """Kill every process now; `__aexit__` still has to run."""
        for keeper in self.parts.values():
            keeper.kill()

    def _plan(self) -> None:
        settings = self.settings
        parts = self._given_parts
        self.parts = {
            part.name: Keeper(part, self.log, settings.ready_timeout_s, settings.stop_timeout_s)
            for part in (self._own_parts() if parts is None else parts)
        }

    def _own_parts(self) -> Sequence[Part]:
        settings = self.settings
        backend = choose(settings.backend)
        ports = settings.ports or Ports.free()
        self.variables = fill(settings.variables, ports, loopback_only=settings.loopback_only)
        if settings.records:
            self.variables.setdefault("TRUNKLINE_TRANSCEIVER_RECORD", "redacted")
        environment = {**without(os.environ), "PYTHONUNBUFFERED": "1"}
        if "TRUNKLINE_REDIS_URL" in self.variables:
            return (*plan(self.variables, environment, backend), *self._records(environment, ()))
        self._directory = tempfile.TemporaryDirectory(prefix="trunkline-")
        redis, url = redis_part(Path(self._directory.name), environment)
        self.variables["TRUNKLINE_REDIS_URL"] = url
        after = (redis.name,)
        parts = plan(self.variables, environment, backend, after)
        return (redis, *parts, *self._records(environment, after))

    def _records(self, environment: Mapping[str, str], after: tuple[str, ...]) -> Sequence[Part]:
        """A recorder and what shows its record, if they are wanted."""
        variables = self.variables
        if variables.get("TRUNKLINE_TRANSCEIVER_RECORD", "off") == "off":
            return ()
        variables.setdefault("TRUNKLINE_RECORDS_STORE", self.settings.records or RECORDS)
        recorder = records_part(variables, environment, after)
        return (recorder, records_api_part(variables, environment, recorder.name))

    async def _start_all(self) -> None:
        for keeper in self.parts.values():
            for binding in keeper.part.binds:
                require_free(keeper.part.name, binding)
        ready = {name: asyncio.Event() for name in self.parts}
        try:
            async with asyncio.TaskGroup() as group:
                for keeper in self.parts.values():
                    group.create_task(_start_in_turn(keeper, ready))
        except BaseExceptionGroup as errors:
            # Not `except*`: before Python 3.11.4 what is raised in it comes out in another group.
            if errors.split(StartupError)[1] is not None:
                raise
            raise _first(errors) from None
        for keeper in self.parts.values():
            keeper.watch()

    async def _stop_all(self) -> None:
        waiting = dict(self.parts)
        while waiting:
            needed = {name for keeper in waiting.values() for name in keeper.part.after}
            wave = [name for name in waiting if name not in needed] or list(waiting)
            await asyncio.gather(*(waiting.pop(name).stop() for name in wave))
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None


async def _start_in_turn(keeper: Keeper, ready: Mapping[str, asyncio.Event]) -> None:
    for name in keeper.part.after:
        await ready[name].wait()
    await keeper.start()
    ready[keeper.part.name].set()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _reachable(address: str) -> str:
    return str(reachable(Address.parse(address)))
