"""Reads what pages, commands and reports ask for. Rows are dicts by the columns of `schema`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from records.store.database import Connection
from trunkline.v1 import record_pb2 as pb

MAX_LISTED = 1000
MAX_EVENTS = 10_000

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls: all that is set must hold. Times are Unix µs of the first event.

    `before` is the place of the last call of the page before, `first_us` and `call_id`.
    `text` is looked for in what was said, in any case.
    """

    since_us: int | None = None
    until_us: int | None = None
    tenant: str | None = None
    key_id: str | None = None
    model: str | None = None
    backend: str | None = None
    end_reason: str | None = None
    prompt_id: str | None = None
    prompt_version: str | None = None
    live: bool | None = None
    v2v_p95_ms_above: float | None = None
    text: str | None = None
    before: tuple[int, str] | None = None
    limit: int = 50


_EQUAL = ("tenant", "key_id", "model", "backend", "end_reason", "prompt_id", "prompt_version")
_SAID = (
    "EXISTS (SELECT 1 FROM contents WHERE contents.call_id = calls.call_id"
    " AND LOWER(contents.content) LIKE :text ESCAPE '\\')"
)


def calls(connection: Connection, wanted: CallFilter) -> Rows:
    """Calls that match, the newest first; at most `limit`, and never more than MAX_LISTED."""
    conditions, values = _conditions(wanted)
    values["limit"] = min(max(1, wanted.limit), MAX_LISTED)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return connection.rows(
        f"SELECT * FROM calls {where} ORDER BY first_us DESC, call_id DESC LIMIT :limit",  # noqa: S608
        values,
    )


def call(connection: Connection, call_id: str) -> dict[str, Any] | None:
    """One call; None when nothing is known of it."""
    found = connection.rows("SELECT * FROM calls WHERE call_id = :id", {"id": call_id})
    return found[0] if found else None


def events(
    connection: Connection, call_id: str, *, kind: str | None = None, limit: int = MAX_EVENTS
) -> list[pb.Event]:
    """The events of a call in the order of their time; of one kind when that is given."""
    return [pb.Event.FromString(row["body"]) for row in bodies(connection, call_id, kind, limit)]


def bodies(
    connection: Connection, call_id: str, kind: str | None = None, limit: int = MAX_EVENTS
) -> Rows:
    """The same as they are stored: `source`, `number`, `wall_us`, `kind`, `body`."""
    of_kind = " AND kind = :kind" if kind else ""
    values = {"id": call_id, "limit": limit, **({"kind": kind} if kind else {})}
    return connection.rows(
        "SELECT source, number, wall_us, kind, body FROM events"  # noqa: S608
        f" WHERE call_id = :id{of_kind} ORDER BY wall_us, source, number LIMIT :limit",
        values,
    )


def contents(connection: Connection, call_id: str) -> dict[tuple[str, int], str]:
    """What was said, by source and number of the event; erased content is not in it."""
    found = connection.rows(
        "SELECT source, number, content FROM contents WHERE call_id = :id", {"id": call_id}
    )
    return {(row["source"], row["number"]): row["content"] for row in found}


def transcript(connection: Connection, call_id: str) -> Rows:
    """The items of the conversation in order, each with `content`; None: none, or erased."""
    return connection.rows(
        "SELECT items.*, contents.content FROM items LEFT JOIN contents"
        " ON contents.call_id = items.call_id AND contents.source = items.source"
        " AND contents.number = items.number"
        " WHERE items.call_id = :id ORDER BY items.first_us, items.item_id",
        {"id": call_id},
    )


def turns(connection: Connection, call_id: str) -> Rows:
    """The turns of a call in order."""
    return _of_call(connection, "turns", "turn", call_id)


def media(connection: Connection, call_id: str) -> Rows:
    """Both directions, span by span."""
    return _of_call(connection, "media", "wall_us, number", call_id)


def usages(connection: Connection, call_id: str) -> Rows:
    """What was used of models, by report and kind."""
    return _of_call(connection, "usages", "wall_us, number, kind", call_id)


def tools(connection: Connection, call_id: str) -> Rows:
    """Tools that were called, in order."""
    return _of_call(connection, "tools", "wall_us, number", call_id)


def sources(connection: Connection, call_id: str) -> Rows:
    """How far each source is; `last_number` − `events` numbers of it are missing."""
    return _of_call(connection, "sources", "source", call_id)


def _of_call(connection: Connection, table: str, order: str, call_id: str) -> Rows:
    return connection.rows(
        f"SELECT * FROM {table} WHERE call_id = :id ORDER BY {order}",  # noqa: S608 - names of ours
        {"id": call_id},
    )


def _conditions(wanted: CallFilter) -> tuple[list[str], dict[str, Any]]:
    values: dict[str, Any] = {name: getattr(wanted, name) for name in _EQUAL}
    values = {name: value for name, value in values.items() if value is not None}
    conditions = [f"{name} = :{name}" for name in values]
    for name, condition in (
        ("since_us", "first_us >= :since_us"),
        ("until_us", "first_us < :until_us"),
        ("v2v_p95_ms_above", "v2v_p95_ms > :v2v_p95_ms_above"),
    ):
        if getattr(wanted, name) is not None:
            conditions.append(condition)
            values[name] = getattr(wanted, name)
    if wanted.live is not None:
        conditions.append(f"ended_us IS {'' if wanted.live else 'NOT '}NULL")
    if wanted.text:
        conditions.append(_SAID)
        values["text"] = f"%{_escaped(wanted.text.lower())}%"
    if wanted.before is not None:
        conditions.append("(first_us, call_id) < (:before_us, :before_id)")
        values["before_us"], values["before_id"] = wanted.before
    return conditions, values


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
