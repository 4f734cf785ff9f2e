"""What a Grafana dashboard is made of, the queries that panels share, and the JSON of a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

PANELS_A_ROW = 3
GRID_WIDTH = 24
PANEL_HEIGHT = 8
_HERE = 'namespace="$namespace"'
RATE = "[$__rate_interval]"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """One graph: queries with the legend of their lines, a Grafana unit, what to look for."""

    title: str
    unit: str
    reading: str
    queries: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Dashboard:
    """A page: `name` is its file and its address in Grafana."""

    name: str
    title: str
    panels: Sequence[Panel]


def of_relay(name: str, more: str = "") -> str:
    """A metric of relays, in the namespace that is looked at."""
    return f"trunkline_relay_{name}{{{_HERE}{more}}}"


def of_transceiver(name: str, more: str = "") -> str:
    """A metric of transceivers, likewise."""
    return f"trunkline_transceiver_{name}{{{_HERE}{more}}}"


def by_pod(counter: str) -> tuple[str, str]:
    """How fast a counter of relays rises, a line for each Pod."""
    return f"sum by (pod) (rate({of_relay(counter)}{RATE}))", "{{pod}}"


def events(pattern: str) -> tuple[str, str]:
    """How often a transceiver counts what the pattern matches, a line for each of them."""
    selected = of_transceiver("events_total", f', event=~"{pattern}"')
    return f"sum by (event) (rate({selected}{RATE}))", "{{event}}"


def drops(pattern: str) -> tuple[str, str]:
    """How often relays drop for reasons that the pattern matches, a line for each of them."""
    selected = of_relay("drops_total", f', reason=~"{pattern}"')
    return f"sum by (reason) (rate({selected}{RATE}))", "{{reason}}"


def delay(share: float, direction: str) -> tuple[str, str]:
    """A quantile of the time that packets spend in a relay."""
    buckets = of_relay("batch_seconds_bucket", f', direction="{direction}"')
    inner = f"sum by (le) (rate({buckets}{RATE}))"
    return f"histogram_quantile({share}, {inner})", f"p{share * 100:g} {direction}"


def written(dashboard: Dashboard) -> str:
    """The JSON that Grafana reads."""
    model = {
        "uid": dashboard.name,
        "title": dashboard.title,
        "tags": ["trunkline"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": [_panel(panel, place) for place, panel in enumerate(dashboard.panels)],
    }
    return json.dumps(model, indent=2) + "\n"


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    yield {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": _SOURCE,
        "query": "label_values(trunkline_relay_nodes, namespace)",
        "refresh": 2,
    }


def _panel(panel: Panel, place: int) -> dict[str, Any]:
    width = GRID_WIDTH // PANELS_A_ROW
    row, column = divmod(place, PANELS_A_ROW)
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.reading,
        "datasource": _SOURCE,
        "gridPos": {"x": column * width, "y": row * PANEL_HEIGHT, "w": width, "h": PANEL_HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": query, "legendFormat": legend}
            for number, (query, legend) in enumerate(panel.queries)
        ],
    }
