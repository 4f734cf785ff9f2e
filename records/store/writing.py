"""Writes events: all of a batch in one transaction, and each event once however often it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.record.chain import event_hash
from records.store import rows
from records.store.columns import upsert
from records.store.database import Connection
from records.store.fold import news
from records.store.percentiles import percentile
from records.store.rows import Recorded
from records.store.schema import BY_DAY

KEY = ("call_id", "source", "number")
_UPSERT_CALL = upsert()
_UPSERT_SOURCE = """
    INSERT INTO sources (call_id, source, events, last_number, last_hash, touched_us)
    VALUES (:call_id, :source, :events, :last_number, :last_hash, :touched_us)
    ON CONFLICT (call_id, source) DO UPDATE SET
        events = sources.events + excluded.events,
        last_hash = CASE WHEN excluded.last_number > sources.last_number
            THEN excluded.last_hash ELSE sources.last_hash END,
        last_number = CASE WHEN excluded.last_number > sources.last_number
            THEN excluded.last_number ELSE sources.last_number END,
        touched_us = excluded.touched_us"""
_COUNT_TURNS = """
    UPDATE calls SET turns = :turns, turns_interrupted = :interrupted, turns_failed = :failed,
        v2v_p50_ms = :p50, v2v_p95_ms = :p95
    WHERE call_id = :call_id"""
# A turn that is final stays; of an item the newest word counts, and content once told stays.
_TURN_COUNTS = "excluded.final OR NOT turns.final"
_ITEM_COUNTS = "excluded.told_us >= items.told_us"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch: events that are new, and those that were there already."""

    new: int = 0
    repeated: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(self.new + other.new, self.repeated + other.repeated)


def write(connection: Connection, events: Sequence[Recorded], now_us: int) -> Written:
    """Store the events that are not there, and what follows from them."""
    once = {one.key: one for one in events}
    if not once:
        return Written()
    connection.ensure_days(BY_DAY, sorted({one.day for one in once.values()}))
    keys = connection.insert_new("events", KEY, [rows.event_row(one) for one in once.values()])
    new = [one for key, one in sorted(once.items()) if key in keys]
    if new:
        _write_parts(connection, new)
        _write_sources(connection, new, now_us)
        connection.run_many(_UPSERT_CALL, [told.values for told in news(new)])
        _count_turns(connection, sorted({one.event.call_id for one in _of(new, "turn")}))
    return Written(len(new), len(events) - len(new))


def _write_parts(connection: Connection, new: Sequence[Recorded]) -> None:
    _insert(connection, "contents", rows.content_row, _with_content(connection, new))
    _insert(connection, "media", rows.media_row, _of(new, "media"))
    _insert(connection, "tools", rows.tool_row, _of(new, "tool"))
    amounts = [row for one in _of(new, "usage") for row in rows.usage_rows(one)]
    connection.insert("usages", amounts)
    _put(connection, "turns", ("call_id", "turn"), _turns(new), _TURN_COUNTS)
    _put(connection, "items", ("call_id", "item_id"), _items(new), _ITEM_COUNTS)


def _of(events: Sequence[Recorded], kind: str) -> list[Recorded]:
    return [one for one in events if one.kind == kind]


def _insert(
    connection: Connection,
    table: str,
    row_of: Callable[[Recorded], dict[str, Any]],
    events: Iterable[Recorded],
) -> None:
    connection.insert(table, [row_of(one) for one in events])


def _with_content(connection: Connection, new: Sequence[Recorded]) -> list[Recorded]:
    """Those that have content, but of a call that was erased nothing is kept any more."""
    told = [one for one in new if one.salt]
    gone = _erased(connection, sorted({one.event.call_id for one in told}))
    return [one for one in told if one.event.call_id not in gone]


def _erased(connection: Connection, call_ids: Sequence[str]) -> set[str]:
    if not call_ids:
        return set()
    values = {f"call_{place}": call_id for place, call_id in enumerate(call_ids)}
    found = connection.rows(
        "SELECT call_id FROM calls WHERE erased_us IS NOT NULL"  # noqa: S608 - names of ours
        f" AND call_id IN ({', '.join(':' + name for name in values)})",
        values,
    )
    return {row["call_id"] for row in found}


def _turns(new: Sequence[Recorded]) -> list[dict[str, Any]]:
    return [rows.turn_row(one) for one in _of(new, "turn")]


def _items(new: Sequence[Recorded]) -> list[dict[str, Any]]:
    return [rows.item_row(one) for one in _of(new, "item")]


def _put(
    connection: Connection,
    table: str,
    key: Sequence[str],
    values: Sequence[dict[str, Any]],
    counts: str,
) -> None:
    """Insert, or replace what stands there where `counts` says so; in the order of keys."""
    if values:
        ordered = sorted(values, key=lambda row: tuple(row[name] for name in key))
        connection.run_many(_put_statement(table, key, list(values[0]), counts), ordered)


def _put_statement(table: str, key: Sequence[str], columns: Sequence[str], counts: str) -> str:
    kept = {"source", "number", "first_us"}  # of an item; see below
    changes = [f"{name} = excluded.{name}" for name in columns if name not in {*key, *kept}]
    if table == "items":
        changes += [f"{name} = COALESCE(excluded.{name}, items.{name})" for name in KEY[1:]]
    return (
        f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 - names of ours
        f" VALUES ({', '.join(':' + name for name in columns)})"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(changes)} WHERE {counts}"
    )


def _write_sources(connection: Connection, new: Sequence[Recorded], now_us: int) -> None:
    heads: dict[tuple[str, str], dict[str, Any]] = {}
    for one in new:  # in the order of numbers
        event = one.event
        head = heads.setdefault((event.call_id, event.source), {"events": 0})
        head["events"] += 1
        head["last_number"], head["last_hash"] = event.number, one.body
    connection.run_many(
        _UPSERT_SOURCE,
        [
            {
                **head,
                "call_id": call_id,
                "source": source,
                "last_hash": event_hash(head["last_hash"]),
                "touched_us": now_us,
            }
            for (call_id, source), head in sorted(heads.items())
        ],
    )


def _count_turns(connection: Connection, call_ids: Sequence[str]) -> None:
    if not call_ids:
        return
    values = {f"call_{place}": call_id for place, call_id in enumerate(call_ids)}
    turns = connection.rows(
        "SELECT call_id, out_ms, interrupted, failed FROM turns"  # noqa: S608 - names of ours
        f" WHERE call_id IN ({', '.join(':' + name for name in values)})",
        values,
    )
    by_call: dict[str, list[dict[str, Any]]] = {call_id: [] for call_id in call_ids}
    for turn in turns:
        by_call[turn["call_id"]].append(turn)
    connection.run_many(_COUNT_TURNS, [_counted(*pair) for pair in by_call.items()])


def _counted(call_id: str, turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    v2v = sorted(turn["out_ms"] for turn in turns if turn["out_ms"] is not None)
    return {
        "call_id": call_id,
        "turns": len(turns),
        "interrupted": sum(bool(turn["interrupted"]) for turn in turns),
        "failed": sum(bool(turn["failed"]) for turn in turns),
        "p50": percentile(v2v, 50),
        "p95": percentile(v2v, 95),
    }
