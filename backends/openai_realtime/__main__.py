"""`python -m backends.openai_realtime`: every call on a Realtime API of its own. Wiring only."""

from __future__ import annotations

import fleet.extras  # noqa: F401 - first: it says what to install when an import below fails

# isort: split
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backends.agent.hosting import metrics_served
from backends.openai_realtime.bridge import converse
from backends.openai_realtime.metrics import BridgeMetrics
from backends.openai_realtime.settings import RealtimeSettings
from backends.openai_realtime.upstream import Realtime
from backends.operated import serve
from fleet.settings import load
from trunkline.backend import AudioFormat, Backend, Call


class RealtimeBackend:
    """The handler of every call."""

    def __init__(self, settings: RealtimeSettings) -> None:
        self._settings = settings
        self._realtime: Realtime | None = None
        self._metrics = BridgeMetrics()

    async def handle(self, call: Call) -> None:
        """Carry a call."""
        assert self._realtime is not None  # noqa: S101 - serving begins inside `running`
        renew_s = self._settings.backend_realtime_renew_s
        await converse(call, self._realtime, renew_s, self._metrics.renewed)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The client that calls share, and metrics. Raises StartupError."""
        settings = self._settings
        self._realtime = Realtime(
            settings.backend_realtime_url,
            settings.backend_realtime_key,
            settings.backend_realtime_model,
        )
        try:
            async with metrics_served(settings.backend_metrics, self._metrics):
                yield
        finally:
            await self._realtime.close()


def main() -> None:
    """Serve until SIGTERM."""
    settings = load(RealtimeSettings, "python -m backends.openai_realtime")
    backend = RealtimeBackend(settings)
    serve(
        Backend(
            backend.handle,
            name="openai_realtime",
            accepts=(AudioFormat.PCM16_24000,),
            max_calls=settings.backend_max_calls,
            around=backend.running,
        ),
        settings,
    )


if __name__ == "__main__":
    main()
