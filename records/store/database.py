"""What the store needs of a database, whichever it is. SQL is written once, with `:names`.

    Database ─ transaction() ─▶ Connection ─ rows, run, run_many, insert_new

Everything here blocks; a process with an event loop calls it in a thread. A Database may be used by
several threads, and a Connection by one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = Mapping[str, Any]
"""One row of a result, or the values of one statement, by the names of columns."""


class Connection(Protocol):
    """One transaction. Raises StoreUnavailable when the database goes away meanwhile."""

    def rows(self, sql: str, values: Row | None = None) -> list[dict[str, Any]]:
        """What a statement gives."""

    def run(self, sql: str, values: Row | None = None) -> int:
        """How many rows a statement changed."""

    def run_many(self, sql: str, values: Sequence[Row]) -> None:
        """One statement with each of `values`."""

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Insert rows of which none is there yet. Rows have one shape."""

    def insert_new(
        self, table: str, key: Sequence[str], rows: Sequence[Row]
    ) -> set[tuple[Any, ...]]:
        """Insert the rows whose key is not there yet; the keys of those. Rows have one shape."""

    def ensure_days(self, tables: Sequence[str], days: Sequence[int]) -> None:
        """Make room for these days (since 1970) in tables that are partitioned by day."""

    def drop_days(self, tables: Sequence[str], before: int) -> int:
        """Forget the days before that one; how many rows or partitions that were."""

    def lock_schema(self) -> None:
        """Nobody else changes the schema until the end of this transaction."""


class Database(Protocol):
    """A place for the record."""

    place: str
    """Where it is, without a password, for a log."""

    @property
    def types(self) -> Mapping[str, str]:
        """What the words `blob`, `real`, `clustered` and `by_day` of the schema are here."""

    def transaction(self, *, write: bool = True) -> AbstractContextManager[Connection]:
        """Everything in it, or nothing. Raises StoreUnavailable."""

    def close(self) -> None:
        """Let go of all connections."""
