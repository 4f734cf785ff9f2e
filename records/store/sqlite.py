"""SQLite with a write-ahead log: one writer at a time, and readers who do not wait for it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from fleet.errors import StoreUnavailable
from records.store.database import Row
from records.store.errors import NotStorable

BUSY_TIMEOUT_S = 5.0  # how long to wait for another process that writes
MAX_IDLE = 4


class SqliteDatabase:
    """A file; it is made by the first use."""

    types: ClassVar = {
        "blob": "BLOB",
        "real": "REAL",
        "clustered": "WITHOUT ROWID",
        "by_day": "WITHOUT ROWID",
    }

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self.place = str(self._path)
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[SqliteConnection]:
        """As `Database.transaction`."""
        with self._failures_named():
            connection = self._take()
            try:
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                yield SqliteConnection(connection)
                connection.execute("COMMIT")
            except BaseException:
                connection.close()  # which rolls back
                raise
        self._give_back(connection)

    def close(self) -> None:
        """As `Database.close`."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A connection is used by one thread at a time, which the idle list sees to.
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = _named
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError) as error:
            raise NotStorable(type(error).__name__) from None
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"SQLite at {self.place}: {error}") from error


class SqliteConnection:
    """As `Connection`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Row | None = None) -> list[dict[str, Any]]:
        """As `Connection.rows`."""
        return self._connection.execute(sql, values or {}).fetchall()

    def run(self, sql: str, values: Row | None = None) -> int:
        """As `Connection.run`."""
        return self._connection.execute(sql, values or {}).rowcount

    def run_many(self, sql: str, values: Sequence[Row]) -> None:
        """As `Connection.run_many`."""
        self._connection.executemany(sql, values)

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """As `Connection.insert`."""
        if rows:
            columns, marks = ", ".join(rows[0]), ", ".join("?" * len(rows[0]))
            sql = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608
            self._connection.executemany(sql, [tuple(row.values()) for row in rows])

    def insert_new(
        self, table: str, key: Sequence[str], rows: Sequence[Row]
    ) -> set[tuple[Any, ...]]:
        """As `Connection.insert_new`: row by row, since only that tells which were new."""
        if not rows:
            return set()
        columns = list(rows[0])
        marks = ", ".join("?" * len(columns))
        sql = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
        execute = self._connection.execute
        return {
            tuple(row[name] for name in key)
            for row in rows
            if execute(sql, tuple(row.values())).rowcount
        }

    def ensure_days(self, tables: Sequence[str], days: Sequence[int]) -> None:
        """Nothing: a table has all days."""

    def drop_days(self, tables: Sequence[str], before: int) -> int:
        """As `Connection.drop_days`; rows."""
        return sum(
            self.run(f"DELETE FROM {table} WHERE day < :day", {"day": before})  # noqa: S608
            for table in tables
        )

    def lock_schema(self) -> None:
        """Nothing: a transaction that writes is alone."""


def _named(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}
