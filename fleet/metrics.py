"""Metrics in one way: a process has one collector, which reads its counters when it is asked.

    counters (plain numbers, written where things happen) ─▶ Collector.collect ─▶ page ─▶ Prometheus

Nothing on the way of a packet knows Prometheus. What a number is called and whether it falls again
stands beside the number, in the process's `counters` and `metrics`.
"""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST


def registry_of(collector: Collector) -> CollectorRegistry:
    """A registry with this collector alone: nothing of Python's own, nothing of another test."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry


def page(collector: Collector) -> bytes:
    """What it has now, in the text format of Prometheus."""
    return generate_latest(registry_of(collector))
