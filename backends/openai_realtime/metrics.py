"""What the bridge counts, as Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class BridgeMetrics:
    """Counts upstream sessions that another has replaced in the middle of a call."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._renewals = Counter(
            "trunkline_upstream_renewals",
            "Upstream sessions replaced in the middle of a call, by why: age or lost",
            ["reason"],
            registry=self.registry,
        )

    def renewed(self, reason: str) -> None:
        """One more; `reason` is a fixed word."""
        self._renewals.labels(reason).inc()
