"""Prometheus metrics of a relay: the workers' counters, read from shared memory when scraped."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import prometheus_client
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fleet.address import Address
from fleet.directory.directory import Directory
from fleet.errors import AddressInUse
from fleet.metrics import registry_of
from fleet.process_counts import process_counts
from relay.shared.counters import GAUGES, Counter, named
from relay.supervisor.crew import Crew

MAX_CONNECTIONS = 16
CONNECTION_TIMEOUT_S = 5.0  # for what a scraper must send, or take
_PAUSE_S = 0.2
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


class _Handler(WSGIRequestHandler):
    timeout = CONNECTION_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name there)
        """Say nothing: it would go to stderr, which may be stuck."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each of a few connections; what comes beyond is closed at once."""

    daemon_threads = True

    def __init__(self, address: Address) -> None:
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.address_family = socket.getaddrinfo(address.host, address.port)[0][0]
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        """Without looking its own name up in the DNS, as the base class does."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it in a thread, if there is a place."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread to be had
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In the thread: then the place is free again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def get_request(self) -> Any:
        """The next connection; at the limit of descriptors not in a hurry."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE_S)  # it is still there: without this the loop would spin
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper went away: nobody needs to know."""


def serve(address: Address, crew: Crew, directory: Directory) -> WSGIServer:
    """Serve /metrics from a thread; `shutdown()` ends it. Raises AddressInUse."""
    registry = registry_of(RelayCollector(crew, directory))
    try:
        server = _Server(address)
    except OSError as error:
        raise AddressInUse(f"{address} (metrics): {error.strerror}") from None
    server.set_app(prometheus_client.make_wsgi_app(registry))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
