"""Which database a URL means."""

from __future__ import annotations

from records.store.database import Database
from records.store.sqlite import SqliteDatabase


def open_database(url: str) -> Database:
    """`sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://user@host/name`.

    Nothing is connected yet. Raises ValueError for another URL, without quoting it.
    """
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return SqliteDatabase(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        # Only a fleet has this driver: SQLite comes with Python.
        from records.store.postgres import PostgresDatabase  # noqa: PLC0415

        return PostgresDatabase(url)
    raise ValueError("not a store (sqlite:///file.db, postgresql://user@host/name)")
