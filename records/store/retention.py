"""Forgets what is older than it may be: what was said first, everything else later.

Whole days go. In Postgres they are partitions, which costs nothing; SQLite deletes rows. Events go
with their own day, and the row of a call with its last.
"""

from __future__ import annotations

from dataclasses import dataclass

from records.store.database import Connection
from records.store.rows import US_PER_DAY
from records.store.schema import BY_DAY

# Beside those by day; `calls` is the last, because the others are found by it.
_OF_CALLS = ("turns", "items", "usages", "tools", "sources", "calls")


@dataclass(frozen=True)
class Retention:
    """For how many whole days contents, and everything, are kept; None: for ever."""

    content_days: int | None = None
    days: int | None = None


def forget(connection: Connection, retention: Retention, now_us: int) -> None:
    """Forget what is older. Roots and leaves stay: they say what there was, and not what it was."""
    today = now_us // US_PER_DAY
    if retention.content_days is not None:
        connection.drop_days(("contents",), today - retention.content_days)
    if retention.days is None:
        return
    first = today - retention.days
    connection.drop_days(BY_DAY, first)
    old = "SELECT call_id FROM calls WHERE last_us < :before_us"
    for table in _OF_CALLS:
        connection.run(
            f"DELETE FROM {table} WHERE call_id IN ({old})",  # noqa: S608 - names of ours
            {"before_us": first * US_PER_DAY},
        )
