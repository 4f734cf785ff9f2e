"""Dashboards, alerts and autoscalers ask for what the processes export."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import promql_parser
import pytest

from fleet.limits.rules import Reason
from k8s.dashboards import DASHBOARDS, FOLDER
from k8s.panels import written
from relay.shared.counters import Counter
from tests.k8s.manifests import ROOT, Manifests
from transceiver.counters import Counted
from transceiver.link.counters import LinkCounters

# What Grafana fills in before Prometheus sees the query.
_FILLED_IN = {"$__rate_interval": "5m", "$namespace": "trunkline"}
MANIFESTS = "overlays/production"


def dashboard_queries() -> list[str]:
    return [query for d in DASHBOARDS for panel in d.panels for query, _ in panel.queries]


def alerts() -> list[dict[str, Any]]:
    (rules,) = Manifests(MANIFESTS).of_kind("PrometheusRule")
    return [rule for group in rules["spec"]["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    return dashboard_queries() + [alert["expr"] for alert in alerts()]


def selectors(query: str) -> Iterator[promql_parser.VectorSelector]:
    """Every metric a query names, with its labels. Raises ValueError for no PromQL."""
    for name, value in _FILLED_IN.items():
        query = query.replace(name, value)
    yield from _selectors(promql_parser.parse(query))


def _selectors(node: Any) -> Iterator[promql_parser.VectorSelector]:
    match node:
        case promql_parser.VectorSelector():
            yield node
        case promql_parser.MatrixSelector():
            yield node.vector_selector
        case promql_parser.BinaryExpr():
            yield from _selectors(node.lhs)
            yield from _selectors(node.rhs)
        case promql_parser.Call():
            for argument in node.args:
                yield from _selectors(argument)
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr():
            yield from _selectors(node.expr)
        case promql_parser.NumberLiteral():
            return
        case _:
            raise AssertionError(f"not looked into: {type(node).__name__}")


def matched(matcher: Any, values: set[str]) -> set[str]:
    """Which of `values` a label matcher selects."""
    if str(matcher.op) == "MatchOp.Equal":
        return {matcher.value} & values
    assert str(matcher.op) == "MatchOp.Re"
    return {value for value in values if re.fullmatch(matcher.value, value)}


def label_values() -> dict[str, set[str]]:
    """The values that labels can have, from the code that sets them."""
    drops = {c.name.lower() for c in Counter if c.name.startswith("DROP_")}
    reasons = {name.removeprefix("drop_") for name in drops}
    events = {*Counted, *asdict(LinkCounters())}
    events |= {f"limit_refused_{reason.value}" for reason in Reason}
    return {
        "reason": reasons,
        "event": events,
        "direction": {"up", "down"},
        "namespace": {"trunkline"},
    }


def test_there_are_queries() -> None:
    """The other tests look at something."""
    assert len(dashboard_queries()) > 25
    assert len(alerts()) > 12


@pytest.mark.parametrize("query", queries())
def test_labels_have_values_that_can_be(query: str) -> None:
    """Each matcher finds something, and each alternative of a pattern does."""
    known = label_values()
    for selector in selectors(query):
        for matcher in selector.matchers.matchers:
            assert matched(matcher, known[matcher.name]), matcher.value
            if "(" not in matcher.value:
                for alternative in matcher.value.split("|"):
                    found = {v for v in known[matcher.name] if re.fullmatch(alternative, v)}
                    assert found, alternative


def test_a_misspelt_label_is_found() -> None:
    """The check above can fail."""
    (selector,) = selectors('rate(trunkline_relay_drops_total{reason="stun_integritty"}[5m])')
    (matcher,) = selector.matchers.matchers
    assert not matched(matcher, label_values()["reason"])


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.name)
def test_dashboards_are_as_written(dashboard: Any) -> None:
    """The files are what `python -m k8s.dashboards` writes."""
    assert (FOLDER / f"{dashboard.name}.json").read_text() == written(dashboard)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.name)
def test_dashboards_can_be_loaded(dashboard: Any) -> None:
    """Grafana finds them by label; each panel has a place and a word on how to read it."""
    maps = Manifests(MANIFESTS).find("ConfigMap", "dashboards")
    assert maps["metadata"]["labels"]["grafana_dashboard"] == "1"
    model = json.loads(maps["data"][f"{dashboard.name}.json"])
    panels = model["panels"]
    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}) == len(panels)
    assert all(p["description"] and p["targets"] for p in panels)


@pytest.mark.parametrize("alert", alerts(), ids=lambda a: a["alert"])
def test_every_alert_has_its_story(alert: dict[str, Any]) -> None:
    """The runbook is a heading of a page that there is."""
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    path = ROOT / page.partition("/blob/main/")[2]
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
    assert anchor in anchors


def exported(text: str) -> set[str]:
    """The names of all samples in Prometheus' text format."""
    return set(re.findall(r"^(trunkline_\w+?)(?:\{| )", text, re.MULTILINE))


def test_names_are_read_from_the_text_format() -> None:
    """With labels or without; comments are none."""
    text = 'trunkline_relay_flows{worker="0"} 1\ntrunkline_x 2\n# HELP trunkline_y\n'
    assert exported(text) == {"trunkline_relay_flows", "trunkline_x"}
