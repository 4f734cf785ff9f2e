"""The turns as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Histogram

from backends.agent.stages import TurnRecord

NETWORK_BUCKETS_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
BUCKETS_S = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0, 8.0)


class TurnMetrics:
    """Counts turns, and how long after the caller's last voiced packet each stage was reached."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._stages = Histogram(
            "trunkline_turn_stage_seconds",
            "From the caller's last voiced packet to each stage of the turn",
            ["stage"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._network = Histogram(
            "trunkline_turn_network_seconds",
            "Network legs of a turn: rtt and jitter_buffer, and the client's own where it reports",
            ["leg"],
            buckets=NETWORK_BUCKETS_S,
            registry=self.registry,
        )
        self._turns = Counter(
            "trunkline_turns", "Turns, by how they went", ["outcome"], registry=self.registry
        )
        self._discarded = Counter(
            "trunkline_answers_discarded",
            "Answers begun ahead and thrown away because the caller went on",
            registry=self.registry,
        )

    def note(self, record: TurnRecord) -> None:
        """Count a turn."""
        for stage, after_ms in record.after_voiced_ms().items():
            self._stages.labels(stage).observe(max(0.0, after_ms / 1000))
        self.note_network(asdict(record.network))
        self._turns.labels(_outcome(record)).inc()
        self._discarded.inc(record.discarded)

    def note_network(self, legs_ms: Mapping[str, float | None]) -> None:
        """Count legs by name, `rtt_ms` as `rtt`; None is not counted."""
        for name, leg_ms in legs_ms.items():
            if leg_ms is not None:
                self._network.labels(name.removesuffix("_ms")).observe(leg_ms / 1000)


def _outcome(record: TurnRecord) -> str:
    if record.failed:
        return "failed"
    return "interrupted" if record.interrupted else "answered"
