"""The Grafana dashboards, which are written from this file.

    python -m k8s.dashboards          writes k8s/components/monitoring/dashboards/*.json

Every panel names metrics that the processes export; a test asks running ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "components" / "monitoring" / "dashboards"
PANELS_A_ROW = 3
GRID_WIDTH = 24
PANEL_HEIGHT = 8
_HERE = 'namespace="$namespace"'
_RATE = "[$__rate_interval]"
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


def _relay(name: str, more: str = "") -> str:
    return f"trunkline_relay_{name}{{{_HERE}{more}}}"


def _transceiver(name: str, more: str = "") -> str:
    return f"trunkline_transceiver_{name}{{{_HERE}{more}}}"


def _by_pod(counter: str) -> tuple[str, str]:
    return f"sum by (pod) (rate({_relay(counter)}{_RATE}))", "{{pod}}"


def _events(pattern: str) -> tuple[str, str]:
    selected = _transceiver("events_total", f', event=~"{pattern}"')
    return f"sum by (event) (rate({selected}{_RATE}))", "{{event}}"


def _delay(share: float, direction: str) -> tuple[str, str]:
    buckets = _relay("batch_seconds_bucket", f', direction="{direction}"')
    inner = f"sum by (le) (rate({buckets}{_RATE}))"
    return f"histogram_quantile({share}, {inner})", f"p{share * 100:g} {direction}"


CALLS = Dashboard(
    "trunkline-calls",
    "Trunkline / calls",
    [
        Panel(
            "Live calls and room for them",
            "short",
            "Room falls when processes are late or busy. Calls near it: add transceivers.",
            [
                (f"sum({_transceiver('calls')})", "calls"),
                (f"sum({_transceiver('capacity_calls')})", "room"),
            ],
        ),
        Panel(
            "Calls of each transceiver",
            "short",
            "Even lines. One that falls to zero was drained or lost.",
            [(_transceiver("calls"), "{{pod}}")],
        ),
        Panel(
            "Calls that ended, by reason",
            "cps",
            "hangup and client_closed are callers' own. Everything else is worth a look.",
            [_events("call_ended_.+")],
        ),
        Panel(
            "Lateness of the event loop",
            "s",
            "Callers hear it from 20 ms on.",
            [(_transceiver("loop_lateness_seconds"), "{{pod}}")],
        ),
        Panel(
            "Share of a core",
            "percentunit",
            "Above 0.8 the process takes fewer calls.",
            [(_transceiver("loop_busy_ratio"), "{{pod}}")],
        ),
        Panel(
            "Refused by a limit",
            "cps",
            "Callers got 429. A key that should have more: raise its limit.",
            [_events("limit_refused_.+")],
        ),
        Panel(
            "Link to the backends",
            "cps",
            "Losses end calls. Dropped audio: a backend reads too slowly.",
            [_events("link_losses|link_audio_dropped|link_data_overflows|link_connects")],
        ),
        Panel(
            "Packets not sent to relays",
            "pps",
            "The trunk socket could not take them, or nobody has heard from the caller yet.",
            [_events("out_lost|out_no_path|out_oversize")],
        ),
        Panel(
            "Trunk datagrams refused",
            "pps",
            "Nothing, unless keys differ or a stranger reaches the trunk.",
            [_events("trunk_.+|unknown_ufrag|unknown_address")],
        ),
    ],
)

RELAYS = Dashboard(
    "trunkline-relays",
    "Trunkline / relays",
    [
        Panel(
            "Packets from callers",
            "pps",
            "One voice call is about 50 a second each way.",
            [_by_pod("up_packets_total")],
        ),
        Panel(
            "Packets to callers",
            "pps",
            "As many as from callers, while everybody is heard and answered.",
            [_by_pod("down_packets_total")],
        ),
        Panel(
            "Traffic",
            "Bps",
            "What the network has to carry, and what egress costs.",
            [
                (f"sum(rate({_relay('up_bytes_total')}{_RATE}))", "from callers"),
                (f"sum(rate({_relay('down_bytes_total')}{_RATE}))", "from transceivers"),
            ],
        ),
        Panel(
            "Time in a relay",
            "s",
            "From receive call to send call. Milliseconds: a core is shared or throttled.",
            [_delay(0.5, "up"), _delay(0.99, "up"), _delay(0.99, "down")],
        ),
        Panel(
            "Lost in the kernel",
            "pps",
            "Always zero. Else a worker comes too late: more workers, or cores of their own.",
            [_by_pod("up_queue_overflow_total"), _by_pod("down_queue_overflow_total")],
        ),
        Panel(
            "Drops by reason",
            "pps",
            "docs/operations/relay-drops.md has a line for each.",
            [
                (
                    f"sum by (reason) (rate({_relay('drops_total')}{_RATE})) > 0",
                    "{{reason}}",
                )
            ],
        ),
        Panel(
            "Live flows",
            "short",
            "About one a call. Far more: strangers, or callers whose network changes.",
            [(f"sum by (pod) ({_relay('flows')})", "{{pod}}")],
        ),
        Panel(
            "Flows found again",
            "cps",
            "Rises for seconds when a relay is replaced or the load balancer deals anew.",
            [
                (f"sum(rate({_relay(f'recovered_{source}_total')}{_RATE}))", source)
                for source in ("sibling", "redis", "stun")
            ],
        ),
        Panel(
            "Redis, as relays see it",
            "cps",
            "Failures and unanswered questions hurt only callers of a relay that was replaced.",
            [
                (f"sum(rate({_relay(f'flow_store_{what}_total')}{_RATE}))", what)
                for what in ("writes", "write_failures", "unanswered", "refused")
            ],
        ),
        Panel(
            "Transceivers in each relay's directory",
            "short",
            "The same line everywhere, and as many as there are.",
            [(_relay("nodes"), "{{pod}}")],
        ),
        Panel(
            "Workers replaced",
            "short",
            "A worker that died or stuck; a spare took its socket over.",
            [
                (
                    f"sum by (pod) (increase({_relay('worker_restarts_total')}{_RATE}))",
                    "{{pod}}",
                )
            ],
        ),
        Panel(
            "STUN requests",
            "cps",
            "A live call asks every few seconds. A jump without calls is a flood.",
            [_by_pod("stun_requests_total")],
        ),
        Panel(
            "Calls held for another transceiver than their token",
            "short",
            "Calls that moved, and those of transceivers that were lost; old ones too.",
            [(f"sum by (pod) ({_relay('claims_held')})", "{{pod}}")],
        ),
        Panel(
            "Claims of calls",
            "cps",
            "Many at once when a transceiver is drained or lost; each live one again in 20 s.",
            [
                (f"sum(rate({_relay(f'{what}_total')}{_RATE}))", what)
                for what in ("claims", "claims_answered", "flows_claimed", "checks_claimed")
            ],
        ),
        Panel(
            "Transceivers that fell silent, or are not believed any more",
            "short",
            "A suspicion for each whose last call has ended is usual. A fenced one was lost.",
            [
                (
                    f"sum by (pod) (increase({_relay('suspicions_total')}{_RATE}))",
                    "silent, {{pod}}",
                ),
                (f"sum by (pod) (increase({_relay('suspicions_unsaid_total')}{_RATE}))", "unsaid"),
                (_relay("fenced_nodes"), "fenced, {{pod}}"),
            ],
        ),
    ],
)

DASHBOARDS = (CALLS, RELAYS)


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


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(written(dashboard))


if __name__ == "__main__":
    main()
