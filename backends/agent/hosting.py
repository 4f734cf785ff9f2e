"""An agent as a process: what its calls share is opened first and closed last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import prometheus_client

from backends.agent.agent import Agent, AgentProfile
from backends.agent.metrics import TurnMetrics
from backends.agent.models import Models
from backends.agent.tools import Toolbox
from fleet.errors import AddressInUse
from trunkline.backend import Call
from trunkline.process.address import Address


class HasRegistry(Protocol):
    """Metrics of some kind."""

    @property
    def registry(self) -> prometheus_client.CollectorRegistry:
        """Where they are."""


class AgentHost:
    """The handler of every call. `models` is entered by `running`, which may raise StartupError."""

    def __init__(
        self,
        models: AbstractAsyncContextManager[Models],
        toolbox: Toolbox,
        profile: AgentProfile,
        metrics_address: Address | None = None,
    ) -> None:
        self._models_to_be = models
        self._models: Models | None = None
        self._toolbox = toolbox
        self._profile = profile
        self._metrics = TurnMetrics()
        self._metrics_address = metrics_address

    async def handle(self, call: Call) -> None:
        """Converse on a call."""
        assert self._models is not None  # noqa: S101 - serving begins inside `running`
        await Agent(call, self._models, self._toolbox, self._profile, self._metrics).run()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the models and serve metrics. Raises StartupError."""
        served = metrics_served(self._metrics_address, self._metrics)
        async with served, self._models_to_be as self._models:
            yield


@asynccontextmanager
async def metrics_served(address: Address | None, metrics: HasRegistry) -> AsyncIterator[None]:
    """Serve /metrics, if an address is set. Raises AddressInUse."""
    if address is None:
        yield
        return
    try:
        server, _ = prometheus_client.start_http_server(
            address.port, address.host, metrics.registry
        )
    except OSError:
        raise AddressInUse(f"{address} is in use by another process") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
