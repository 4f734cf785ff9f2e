"""The events of a call page by page, in the order of their time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from records.store.database import Connection

Place = tuple[int, str, int]
"""Where an event stands in its call: `wall_us`, `source`, `number`."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Rows as `records.store.reading.bodies` has them; `next` is None on the last page."""

    rows: list[dict[str, Any]]
    next: Place | None


def event_page(
    connection: Connection,
    call_id: str,
    *,
    limit: int,
    after: Place | None = None,
    since_us: int | None = None,
    kind: str | None = None,
) -> EventPage:
    """At most `limit` events behind `after` and not before `since_us`; of one kind if given."""
    conditions, values = ["call_id = :id"], {"id": call_id, "limit": limit + 1}
    if after is not None:
        conditions.append("(wall_us, source, number) > (:wall_us, :source, :number)")
        values |= dict(zip(("wall_us", "source", "number"), after, strict=True))
    if since_us is not None:
        conditions.append("wall_us >= :since_us")
        values["since_us"] = since_us
    if kind is not None:
        conditions.append("kind = :kind")
        values["kind"] = kind
    rows = connection.rows(
        "SELECT source, number, wall_us, kind, body FROM events"  # noqa: S608 - conditions of ours
        f" WHERE {' AND '.join(conditions)} ORDER BY wall_us, source, number LIMIT :limit",
        values,
    )
    return EventPage(rows[:limit], _place(rows[limit - 1]) if len(rows) > limit else None)


def _place(row: dict[str, Any]) -> Place:
    return row["wall_us"], row["source"], row["number"]
