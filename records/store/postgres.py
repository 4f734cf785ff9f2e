"""Postgres: tables by day are partitions, and many rows come by COPY."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import psycopg
from psycopg.rows import dict_row

from fleet.errors import StoreUnavailable
from records.store.database import Row
from records.store.errors import NotStorable

CONNECT_TIMEOUT_S = 5
# A server that stopped answering must not hold the recorder for ever.
STATEMENT_TIMEOUT_MS = 30_000
MAX_IDLE = 4
# Any number that is ours: who changes the schema or adds a partition holds it.
_SCHEMA_LOCK = 0x7472756E6B
_NAMED = re.compile(r"(?<![:\w]):([a-z_]\w*)")


class PostgresDatabase:
    """A database of a server, by its URL."""

    types: ClassVar = {
        "blob": "BYTEA",
        "real": "DOUBLE PRECISION",
        "clustered": "",
        "by_day": "PARTITION BY RANGE (day)",
    }

    def __init__(self, url: str) -> None:
        """Raise ValueError for a URL that cannot be read; its text never quotes the URL."""
        try:
            asked = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error:
            raise ValueError("not a Postgres URL (postgresql://user@host/name)") from None
        self.place = f"{asked.get('host', 'localhost')}/{asked.get('dbname', '')}"
        self._url = url
        self._days: set[tuple[str, int]] = set()  # partitions that are known to be there
        self._idle: list[psycopg.Connection[dict[str, Any]]] = []
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[PostgresConnection]:
        """As `Database.transaction`; one that only reads sees one moment."""
        connection = self._take()
        new_days: set[tuple[str, int]] = set()
        try:
            with self._failures_named():
                yield PostgresConnection(connection, self._days, new_days)
                connection.commit()
        except BaseException:
            connection.close()  # which rolls back
            raise
        self._days |= new_days
        self._give_back(connection)

    def close(self) -> None:
        """As `Database.close`."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _take(self) -> psycopg.Connection[dict[str, Any]]:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
        with self._failures_named():
            return psycopg.connect(
                self._url,
                row_factory=dict_row,
                connect_timeout=CONNECT_TIMEOUT_S,
                options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC",
                application_name="trunkline",
                keepalives_idle=10,
                tcp_user_timeout=STATEMENT_TIMEOUT_MS,
            )

    def _give_back(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        with self._lock:
            if len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise NotStorable(error.sqlstate or type(error).__name__) from None
        except psycopg.Error as error:
            # Only the kind: a message may repeat a row, and a connection's text the user's name.
            kind = error.sqlstate or type(error).__name__
            raise StoreUnavailable(f"Postgres at {self.place} failed ({kind})") from error


class PostgresConnection:
    """As `Connection`. `days` are partitions that are there, `new_days` those it made."""

    def __init__(
        self,
        connection: psycopg.Connection[dict[str, Any]],
        days: set[tuple[str, int]],
        new_days: set[tuple[str, int]],
    ) -> None:
        self._connection = connection
        self._days = days
        self._new_days = new_days

    def rows(self, sql: str, values: Row | None = None) -> list[dict[str, Any]]:
        """As `Connection.rows`."""
        return self._connection.execute(_theirs(sql), values or {}).fetchall()

    def run(self, sql: str, values: Row | None = None) -> int:
        """As `Connection.run`."""
        return self._connection.execute(_theirs(sql), values or {}).rowcount

    def run_many(self, sql: str, values: Sequence[Row]) -> None:
        """As `Connection.run_many`."""
        with self._connection.cursor() as cursor:
            cursor.executemany(_theirs(sql), values or {})

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """As `Connection.insert`: COPY."""
        if rows:
            with self._connection.cursor() as cursor:
                _copy(cursor, table, rows)

    def insert_new(
        self, table: str, key: Sequence[str], rows: Sequence[Row]
    ) -> set[tuple[Any, ...]]:
        """As `Connection.insert_new`: COPY into a table of the session, and from there."""
        if not rows:
            return set()
        columns, new = ", ".join(rows[0]), f"new_{table}"
        with self._connection.cursor() as cursor:
            made = f"CREATE TEMP TABLE IF NOT EXISTS {new} (LIKE {table}) ON COMMIT DELETE ROWS"
            cursor.execute(made.encode())
            _copy(cursor, new, rows)
            inserted = cursor.execute(
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {new}"  # noqa: S608
                # In one order: two writers of the same rows must not wait for each other.
                f" ORDER BY {', '.join(key)} ON CONFLICT DO NOTHING"
                f" RETURNING {', '.join(key)}".encode()
            ).fetchall()
            cursor.execute(f"TRUNCATE {new}".encode())
        return {tuple(row[name] for name in key) for row in inserted}

    def ensure_days(self, tables: Sequence[str], days: Sequence[int]) -> None:
        """As `Connection.ensure_days`."""
        # In the order in which tables are written, or we and a writer might wait for each other.
        wanted = [(table, day) for table in tables for day in days]
        missing = [one for one in wanted if one not in self._days]
        if missing:
            self.lock_schema()
        for table, day in missing:
            self._connection.execute(
                f"CREATE TABLE IF NOT EXISTS {_of_day(table, day)} PARTITION OF {table}"
                f" FOR VALUES FROM ({day}) TO ({day + 1})".encode()
            )
        self._new_days.update(missing)

    def drop_days(self, tables: Sequence[str], before: int) -> int:
        """As `Connection.drop_days`; partitions."""
        self.lock_schema()
        old = [
            row["name"]
            for table in tables
            for row in self.rows(
                "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
                " WHERE inhparent = CAST(:parent AS regclass)",
                {"parent": table},
            )
            if int(row["name"].rpartition("_d")[2]) < before
        ]
        for name in old:
            self._connection.execute(f"DROP TABLE {name}".encode())
        self._days -= {(table, day) for table, day in self._days if day < before}
        return len(old)

    def lock_schema(self) -> None:
        """As `Connection.lock_schema`."""
        self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))


def _copy(cursor: psycopg.Cursor[dict[str, Any]], table: str, rows: Sequence[Row]) -> None:
    with cursor.copy(f"COPY {table} ({', '.join(rows[0])}) FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(tuple(row.values()))


def _of_day(table: str, day: int) -> str:
    return f"{table}_d{day}"


def _theirs(sql: str) -> bytes:
    """`:name` as psycopg writes it."""
    return _NAMED.sub(r"%(\1)s", sql.replace("%", "%%")).encode()
