"""Metrics of several processes on one page."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from fleet import metrics
from transceiver.metrics import TransceiverCollector
from transceiver.pod.joined_metrics import joined


def page(calls: int, **counters: int) -> str:
    return metrics.page(TransceiverCollector(lambda: counters, lambda: {"calls": calls})).decode()


def test_every_sample_says_whose_it_is() -> None:
    """Counters and gauges of all processes stand side by side in one family each."""
    whole = joined({1: page(3, late=5), 0: page(2, **{"late": 7, 'odd "name"': 1})})
    families = {family.name: family for family in text_string_to_metric_families(whole.decode())}
    calls = families["trunkline_transceiver_calls"]
    assert [(sample.labels, sample.value) for sample in calls.samples] == [
        ({"process": "0"}, 2.0),
        ({"process": "1"}, 3.0),
    ]
    events = families["trunkline_transceiver_events"]
    assert events.type == "counter"
    assert {
        (sample.labels["process"], sample.labels["event"]): sample.value
        for sample in events.samples
    } == {("0", "late"): 7.0, ("0", 'odd "name"'): 1.0, ("1", "late"): 5.0}


def test_who_does_not_answer_is_named() -> None:
    """A gauge says of every process whether it is on the page."""
    whole = joined({1: page(3)}, missing={0, 2})
    families = {family.name: family for family in text_string_to_metric_families(whole.decode())}
    up = families["trunkline_transceiver_process_up"].samples
    assert {sample.labels["process"]: sample.value for sample in up} == {"0": 0, "1": 1, "2": 0}


def test_nobody_has_metrics() -> None:
    """No pages make an empty one."""
    assert joined({}) == b""
