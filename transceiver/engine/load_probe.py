"""Measures how late the event loop is, and how much of a core it takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from transceiver.engine.capacity import SAMPLE_INTERVAL_S, LoadSample

PROBE_INTERVAL_S = 0.020
_QUANTILE = 0.9


class LoadProbe:
    """Gives a `LoadSample` to `on_sample` twice a second, from `start` to `stop`.

    A timer that asks for every 20 ms and notes when it is called: 0.1 % of a core. `calls` says how
    many are live, `begun` how many ever began.
    """

    def __init__(
        self,
        calls: Callable[[], int],
        begun: Callable[[], int],
        on_sample: Callable[[LoadSample], object],
    ) -> None:
        self._calls = calls
        self._begun = begun
        self._on_sample = on_sample
        self._timer: asyncio.TimerHandle | None = None
        self._lateness_s: list[float] = []
        self.latest = LoadSample(0, 0.0, 0.0)

    def start(self) -> None:
        """Begin; the loop is the running one."""
        self._loop = asyncio.get_running_loop()
        self._begin_sample()
        self._ask()

    def stop(self) -> None:
        """No more samples."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self) -> None:
        self._due_s = self._loop.time() + PROBE_INTERVAL_S
        self._timer = self._loop.call_at(self._due_s, self._on_timer)

    def _on_timer(self) -> None:
        now = self._loop.time()
        self._lateness_s.append(max(0.0, now - self._due_s))
        self._ask()
        if now - self._began_s >= SAMPLE_INTERVAL_S:
            self.latest = self._sample(now)
            self._begin_sample()
            self._on_sample(self.latest)

    def _begin_sample(self) -> None:
        # The clock of this thread alone: gRPC's own threads wait on other cores.
        self._began_s, self._began_cpu_s = self._loop.time(), time.thread_time()
        self._begun_before = self._begun()
        self._lateness_s.clear()

    def _sample(self, now: float) -> LoadSample:
        ordered = sorted(self._lateness_s)
        late_s = ordered[int(len(ordered) * _QUANTILE)]
        busy = (time.thread_time() - self._began_cpu_s) / (now - self._began_s)
        begun = self._begun() - self._begun_before
        return LoadSample(self._calls(), late_s, min(1.0, busy), begun)
