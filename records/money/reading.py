"""What calls used, out of the store. A few statements for many calls, not a few for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from records.money.call_use import Answer, CallUse, Report
from records.store import reading
from records.store.database import Connection
from records.store.reading import MAX_LISTED, CallFilter
from trunkline.v1 import record_pb2 as pb

MAX_CALLS = 10_000  # of one report: some seconds of reading
_CHUNK = 500  # ids in one statement
_NETWORK = ("rtt_ms", "jitter_buffer_ms", "client_jitter_buffer_ms")

Row = dict[str, Any]


def rows_of(connection: Connection, wanted: CallFilter, most: int = MAX_CALLS) -> list[Row]:
    """Calls that match, the newest first; one more than `most` when there are more."""
    found: list[Row] = []
    while len(found) <= most:
        limit = min(MAX_LISTED, most + 1 - len(found))
        page = reading.calls(connection, replace(wanted, limit=limit))
        found += page
        if len(page) < limit:
            break
        wanted = replace(wanted, before=(page[-1]["first_us"], page[-1]["call_id"]))
    return found


def uses(connection: Connection, rows: Sequence[Row]) -> Iterator[CallUse]:
    """What these calls used; `rows` are of the table `calls`."""
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        events, turns = _events(connection, chunk), _turns(connection, chunk)
        for row in chunk:
            call_id = row["call_id"]
            yield _use(row, events.get(call_id, []), turns.get(call_id, []))


def _events(connection: Connection, rows: Sequence[Row]) -> dict[str, list[pb.Event]]:
    names, values = _ids(rows)
    found: dict[str, list[pb.Event]] = {}
    for row in connection.rows(
        "SELECT call_id, body FROM events"  # noqa: S608 - names of ours
        f" WHERE call_id IN ({names}) AND kind IN ('usage', 'moved')"
        " ORDER BY wall_us, source, number",
        values,
    ):
        found.setdefault(row["call_id"], []).append(pb.Event.FromString(row["body"]))
    return found


def _turns(connection: Connection, rows: Sequence[Row]) -> dict[str, list[Row]]:
    names, values = _ids(rows)
    found: dict[str, list[Row]] = {}
    for row in connection.rows(
        "SELECT call_id, ended_ms, first_sound_ms, out_ms,"  # noqa: S608 - names of ours
        f" {', '.join(_NETWORK)} FROM turns"
        f" WHERE call_id IN ({names}) AND out_ms IS NOT NULL ORDER BY turn",
        values,
    ):
        found.setdefault(row["call_id"], []).append(row)
    return found


def _ids(rows: Sequence[Row]) -> tuple[str, dict[str, Any]]:
    values = {f"id{place}": row["call_id"] for place, row in enumerate(rows)}
    return ", ".join(f":{name}" for name in values), values


def _use(row: Row, events: Sequence[pb.Event], turns: Sequence[Row]) -> CallUse:
    version = f"@{row['prompt_version']}" if row["prompt_version"] else ""
    return CallUse(
        call_id=row["call_id"],
        lasted_s=_lasted_s(row),
        cpu_s=row["cpu_s"],
        bytes_from_caller=row["bytes_from_caller"],
        bytes_to_caller=row["bytes_to_caller"],
        record_bytes=row["size_bytes"],
        events=row["events"],
        reports=tuple(_report(one.usage) for one in events if one.HasField("usage")),
        answers=tuple(map(_answer, turns)),
        move_gaps_ms=tuple(_gaps(events)),
        day=datetime.fromtimestamp(row["first_us"] // 1_000_000, UTC).date().isoformat(),
        key=row["key_id"] or "",
        prompt=f"{row['prompt_id']}{version}" if row["prompt_id"] else "",
    )


def _lasted_s(row: Row) -> float:
    """A call that goes on has lasted until its newest event."""
    told: float | None = row["lasted_s"]
    if told is not None:
        return told
    return float(row["last_us"] - row["first_us"]) / 1e6


def _report(usage: pb.UsageReport) -> Report:
    amounts: dict[str, float] = {}
    for each in usage.amounts:
        known = pb.UsageKind.DESCRIPTOR.values_by_number.get(each.kind)
        kind = known.name.removeprefix("USAGE_KIND_").lower() if known else str(each.kind)
        amounts[kind] = amounts.get(kind, 0.0) + each.amount
    price = usage.price if usage.HasField("price") else None
    return Report(usage.provider, usage.model, amounts, price)


def _answer(turn: Row) -> Answer:
    network = [turn[name] for name in _NETWORK if turn[name] is not None]
    return Answer(
        turn["out_ms"],
        turn["ended_ms"],
        turn["first_sound_ms"],
        sum(network) if network else None,
    )


def _gaps(events: Sequence[pb.Event]) -> Iterator[float]:
    for event in events:
        if event.HasField("moved") and event.moved.kind != pb.MOVE_KIND_LEFT:
            yield event.moved.gap_ms
