"""The metrics of several processes as one page, each sample with its process. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from fleet import metrics

LABEL = "process"
UP = "trunkline_transceiver_process_up"


def joined(pages: Mapping[int, str], missing: Iterable[int] = ()) -> bytes:
    """Pages in the text format of Prometheus, by process, as one with the label `process`.

    `missing` are the processes that did not answer; `trunkline_transceiver_process_up` says so.
    """
    families: dict[str, Metric] = {}
    for process, page in sorted(pages.items()):
        for family in text_string_to_metric_families(page):
            whole = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            for sample in family.samples:
                labels = {**sample.labels, LABEL: str(process)}
                whole.samples.append(sample._replace(labels=labels))
    if pages or missing:
        families[UP] = _up(pages, missing)
    return metrics.page(_Families(families))


def _up(pages: Iterable[int], missing: Iterable[int]) -> Metric:
    up = GaugeMetricFamily(UP, "Whether the process answered in time", labels=[LABEL])
    for process, value in sorted([*((p, 1) for p in pages), *((p, 0) for p in missing)]):
        up.add_metric([str(process)], value)
    return up


class _Families(Collector):
    def __init__(self, families: Mapping[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()
