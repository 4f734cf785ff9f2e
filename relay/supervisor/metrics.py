"""Prometheus metrics of a relay: the workers' counters, read from shared memory when scraped."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fleet.directory.directory import Directory
from fleet.metrics_server import MetricsServer, serve_metrics
from fleet.process_counts import process_counts
from relay.shared.counters import GAUGES, Counter, named
from relay.supervisor.crew import Crew
from trunkline.process.address import Address

_DROP = "drop_"


class RelayCollector(Collector):
    """One sample a worker and counter; drops are one metric with the reason as a label."""

    def __init__(self, crew: Crew, directory: Directory) -> None:
        self._crew = crew
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        """Every metric, now."""
        drops = CounterMetricFamily(
            "trunkline_relay_drops", "Packets dropped, by reason", labels=["worker", "reason"]
        )
        facts: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for post in self._crew.posts:
            for name, value in named(post.memory.counts).items():
                if name.startswith(_DROP):
                    drops.add_metric([str(post.number), name.removeprefix(_DROP)], value)
                else:
                    fact = facts.setdefault(name, _fact(name))
                    fact.add_metric([str(post.number)], value)
        yield drops
        yield from facts.values()
        yield self._latency()
        yield from self._gauges()
        for name, value in self._facts().items():
            yield CounterMetricFamily(f"trunkline_relay_{name}", _words(name), value)

    def _facts(self) -> dict[str, int]:
        return {**self._crew.counts(), **process_counts()}

    def _latency(self) -> Metric:
        latency = HistogramMetricFamily(
            "trunkline_relay_batch_seconds",
            "From the return of a receive call to that of the send call, one sample a batch",
            labels=["worker", "direction"],
        )
        for post in self._crew.posts:
            telemetry = post.memory.telemetry
            for direction, histogram in (("up", telemetry.up), ("down", telemetry.down)):
                latency.add_metric(
                    [str(post.number), direction], list(histogram.cumulative()), histogram.sum_s
                )
        return latency

    def _gauges(self) -> Iterator[Metric]:
        flows = GaugeMetricFamily("trunkline_relay_flows", "Live flows", labels=["worker"])
        restarts = CounterMetricFamily(
            "trunkline_relay_worker_restarts", "Times a worker was replaced", labels=["worker"]
        )
        claims = GaugeMetricFamily(
            "trunkline_relay_claims_held",
            "Calls that a claim leads to another transceiver than their token",
            labels=["worker"],
        )
        for post in self._crew.posts:
            flows.add_metric([str(post.number)], len(post.memory.flows))
            restarts.add_metric([str(post.number)], post.restarts)
            claims.add_metric([str(post.number)], len(post.memory.claims.by_ufrag))
        faults = CounterMetricFamily(
            "trunkline_relay_supervisor_faults",
            "What raised in the supervisor and was survived, by place",
            labels=["place"],
        )
        for place, count in self._crew.faults.counts().items():
            faults.add_metric([place], count)
        yield flows
        yield restarts
        yield claims
        yield faults
        yield GaugeMetricFamily(
            "trunkline_relay_fenced_nodes",
            "Node indexes whose last owner was lost and is not believed any more",
            self._crew.nodes.fenced_count,
        )
        yield GaugeMetricFamily(
            "trunkline_relay_nodes", "Transceivers that hold a lease", self._directory.live_count
        )


def _fact(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    rises_and_falls = Counter[name.upper()] in GAUGES
    family = GaugeMetricFamily if rises_and_falls else CounterMetricFamily
    return family(f"trunkline_relay_{name}", _words(name), labels=["worker"])


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def serve(address: Address, crew: Crew, directory: Directory) -> MetricsServer:
    """Serve /metrics from a thread; `shutdown()` ends it. Raises AddressInUse."""
    return serve_metrics(address, RelayCollector(crew, directory))
