"""One measurement of so many callers, and whether it held. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loadtest.media_bench.cpu import Busy
from loadtest.media_bench.lateness import Measured

MAX_LATENESS_MS = 10.0
"""p99 over all frames: half a frame, which any jitter buffer of a caller takes without a gap."""
FULL_PERCENT = 90.0
MAX_STRANGERS = 10.0
"""Percent of a core. Beyond it a trial may have been cut short, and its failure means nothing."""


@dataclass(frozen=True)
class Trial:
    """`callers` spoke for `speaking_s` seconds; `busy` is what that cost each part."""

    callers: int
    speaking_s: float
    measured: Measured
    busy: Busy
    send_lateness_p99_ms: float

    @property
    def held(self) -> bool:
        """Nothing lost, every sampled echo authentic, p99 lateness inside the bar."""
        measured = self.measured
        clean = not measured.lost and not measured.foreign
        return clean and measured.lateness_ms(99) <= MAX_LATENESS_MS

    def percent(self) -> dict[str, float]:
        """CPU of each part, in percent of a core."""
        return self._percent(self.busy.used_s)

    def cpu_ms_per_session_s(self, engine: str) -> float:
        """CPU of the engine for one second of one session."""
        return round(1000 * self.busy.used_s[engine] / (self.callers * self.speaking_s), 3)

    def limit(self, engine: str) -> str:
        """What was full: the engine, the core of callers and backend, or neither."""
        percent = self.percent()
        rest = sum(used for name, used in percent.items() if name != engine)
        waited = self._percent(self.busy.waited_s).get(engine, 0.0)
        if percent[engine] >= FULL_PERCENT:
            return "engine"
        if percent[engine] + waited >= FULL_PERCENT:
            return "others on the engine's core"
        return "callers and backend" if rest >= FULL_PERCENT else "neither core"

    @property
    def strangers(self) -> float:
        """CPU of processes that have no part in this, in percent of a core."""
        return self._percent({"": self.busy.strangers_s})[""]

    @property
    def disturbed(self) -> bool:
        """Whether others took so much of the machine that a failure may be theirs."""
        return self.strangers > MAX_STRANGERS

    def described(self, engine: str) -> dict[str, object]:
        """The figures that say what the limit was."""
        return {
            "sessions": self.callers,
            "lateness_ms_p50": self.measured.lateness_ms(50),
            "lateness_ms_p99": self.measured.lateness_ms(99),
            "transit_ms_p50": self.measured.transit_ms(50),
            "lost": self.measured.lost,
            "send_lateness_ms_p99": self.send_lateness_p99_ms,
            **{f"cpu_{name}": used for name, used in self.percent().items()},
            "cpu_strangers": self.strangers,
            "engine_waited": self._percent(self.busy.waited_s).get(engine, 0.0),
        }

    def _percent(self, seconds: Mapping[str, float]) -> dict[str, float]:
        return {name: round(100 * part / self.speaking_s, 1) for name, part in seconds.items()}
