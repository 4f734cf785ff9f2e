"""What the command line prints: values go in, rich tables come out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from cli.fleet_view import Heard
from cli.journeys import Journey
from cli.reach import BackendView
from trunkline.v1 import admin_pb2


def table(title: str, *columns: str) -> Table:
    """A table whose columns beginning with # are figures."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        figure = column.startswith("#")
        made.add_column(column.lstrip("#"), justify="right" if figure else "left")
    return made


def nodes_table(nodes: Sequence[admin_pb2.Node]) -> Table:
    """The directory."""
    made = table("Transceivers", "#node", "name", "state", "#calls", "#capacity", "trunk", "admin")
    for node in nodes:
        figures = (str(node.calls), str(node.capacity or "?"))
        state = "gone" if not node.live else "draining" if node.draining else "serving"
        made.add_row(str(node.index), escape(node.name), state, *figures, node.trunk, node.admin)
    return made


def calls_table(found: Sequence[tuple[str, admin_pb2.Call]]) -> Table:
    """Calls with the node they are on."""
    made = table(
        "Calls", "call", "node", "state", "age", "backend", "from",
        "#in", "#out", "#lost", "#jitter ms", "#rtt ms",
    )  # fmt: skip
    for node, call in found:
        made.add_row(
            escape(call.call_id), escape(node), call.state, age(call.started_unix_ms),
            escape(call.backend), call.client_network, str(call.packets_received),
            str(call.packets_sent), str(call.packets_lost), f"{call.jitter_ms:.1f}",
            f"{call.round_trip_ms:.1f}",
        )  # fmt: skip
    return made


def journeys_table(journeys: Sequence[Journey]) -> Table:
    """Calls that move, or have moved a moment ago."""
    made = table("Calls that move", "call", "from", "to")
    for one in journeys:
        made.add_row(escape(one.call_id), escape(one.left), escape(one.at) or "…")
    return made


def backends_table(heard: Sequence[Heard[BackendView]]) -> Table:
    """Backends with the calls they have, and frames of callers they were too slow to hear."""
    made = table("Backends", "backend", "state", "up for", "#calls", "transceivers", "#dropped")
    for backend in heard:
        if backend.answer is None:
            made.add_row(backend.name, "unreachable")
            continue
        calls = backend.answer.calls
        state = "draining" if backend.answer.draining else "serving"
        made.add_row(
            backend.name, state, age(backend.answer.info.started_unix_ms), str(len(calls)),
            escape(", ".join(sorted({call.transceiver for call in calls}))),
            str(sum(call.dropped_frames for call in calls)),
        )  # fmt: skip
    return made


def flows_table(found: Sequence[tuple[str, admin_pb2.Flow]]) -> Table:
    """Flows with the relay they are on."""
    made = table("Flows", "relay", "#worker", "from", "#node", "#idle s", "flow")
    for relay, flow in found:
        idle = f"{flow.idle_s:.1f}"
        figures = (str(flow.worker), flow.client_network, str(flow.node), idle)
        made.add_row(relay, *figures, flow.flow_id)
    return made


def limits_table(subjects: Sequence[admin_pb2.SubjectLimits]) -> Table:
    """Limits and what is used of them."""
    made = table(
        "Limits", "subject", "#live", "#calls", "#calls/s", "#tokens used", "#tokens", "set by"
    )
    for subject in subjects:
        made.add_row(
            escape(subject.subject), str(subject.live_calls), _bound(subject.calls),
            _bound(subject.rate), str(subject.used_tokens), _bound(subject.tokens),
            "operator" if subject.changed else "settings",
        )  # fmt: skip
    return made


def relays_table(
    heard: Sequence[Heard[admin_pb2.StatsResponse]], rates: Mapping[str, Mapping[str, float]]
) -> Table:
    """Relays; `rates` has what each counter of each relay gains in a second."""
    made = table("Relays", "relay", "state", "#workers", "#flows", "#up/s", "#down/s", "#drops/s")
    for relay in heard:
        if relay.answer is None:
            made.add_row(relay.name, "unreachable")
            continue
        gained = rates.get(relay.name, {})
        drops = sum(rate for name, rate in gained.items() if name.startswith("drop_"))
        ends = [gained.get(name, 0.0) for name in ("up_packets", "down_packets")]
        made.add_row(
            relay.name, "draining" if relay.answer.draining else "serving",
            str(len(relay.answer.workers)), str(sum(w.flows for w in relay.answer.workers)),
            *(f"{rate:.0f}" for rate in (*ends, drops)),
        )  # fmt: skip
    return made


def problems(heard: Iterable[Heard[Any]]) -> list[str]:
    """Why some did not answer."""
    return [f"{one.name}: {one.problem}" for one in heard if one.problem]


def age(started_unix_ms: int, now_s: float | None = None) -> str:
    """How long ago, as 1:02:03 or 2:03."""
    seconds = max(0, int((time.time() if now_s is None else now_s) - started_unix_ms / 1000))
    hours, rest = divmod(seconds, 3600)
    minutes = f"{rest // 60:02}" if hours else str(rest // 60)
    return f"{f'{hours}:' if hours else ''}{minutes}:{rest % 60:02}"


def _bound(amount: float) -> str:
    return f"{amount:g}" if amount else "none"
