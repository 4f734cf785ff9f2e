"""Prometheus metrics of a transceiver: its counters and gauges, read when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

PREFIX = "trunkline_transceiver"
GAUGES = {
    "calls": "Live calls.",
    "calls_without_backend": "Live calls whose backend is lost, while another is looked for.",
    "capacity_calls": "Live calls this process takes, as learned from its lateness and CPU.",
    "loop_lateness_seconds": "How late the event loop is, nine of ten times less.",
    "loop_busy_ratio": "Share of a core that the event loop takes.",
    "loop_tasks": "Tasks of the event loop: some for the process, one for each HTTP connection.",
}


class TransceiverCollector(Collector):
    """Reads counters and gauges at the moment of a scrape."""

    def __init__(
        self, counters: Callable[[], Mapping[str, int]], gauges: Callable[[], Mapping[str, float]]
    ) -> None:
        self._counters = counters
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """`…_events_total{event=…}` for every counter, and a gauge for each of GAUGES."""
        events = CounterMetricFamily(
            f"{PREFIX}_events", "What happened, by counter name.", labels=["event"]
        )
        for name, count in sorted(self._counters().items()):
            events.add_metric([name], count)
        yield events
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"{PREFIX}_{name}", GAUGES[name], value=value)
