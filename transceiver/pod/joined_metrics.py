"""The metrics of several processes as one page, each sample with its process. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from fleet import metrics

LABEL = "process"


def joined(pages: Mapping[int, str]) -> bytes:
    """Pages in the text format of Prometheus, by process, as one with the label `process`."""
    families: dict[str, Metric] = {}
    for process, page in sorted(pages.items()):
        for family in text_string_to_metric_families(page):
            whole = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            for sample in family.samples:
                labels = {**sample.labels, LABEL: str(process)}
                whole.samples.append(sample._replace(labels=labels))
    return metrics.page(_Families(families))


class _Families(Collector):
    def __init__(self, families: Mapping[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()
