"""Prometheus metrics of a recorder: its counters, read when scraped."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fleet.process_counts import process_counts
from records.recorder import Recorder

PREFIX = "trunkline_records"


class RecordsCollector(Collector):
    """Reads the counters at the moment of a scrape."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def collect(self) -> Iterator[Metric]:
        """`…_events_total{event=…}` for every counter, and two gauges."""
        events = CounterMetricFamily(
            f"{PREFIX}_events", "What became of what was read, by counter name.", labels=["event"]
        )
        for name, count in sorted({**self._recorder.counters, **process_counts()}.items()):
            events.add_metric([name], count)
        yield events
        yield GaugeMetricFamily(
            f"{PREFIX}_waiting_batches",
            "Batches that wait in the stream.",
            value=self._recorder.backlog,
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_well", "Whether stream and store answer.", value=self._recorder.well
        )
