"""Which database a URL means."""

from __future__ import annotations

from records.store.database import Database
from records.store.sqlite import SqliteDatabase

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


def check_url(url: str) -> None:
    """Raise ValueError for a URL of no store that there is, without quoting it."""
    if not url.startswith(_POSTGRES) and not (url.startswith(_SQLITE) and url != _SQLITE):
        raise ValueError("not a store (sqlite:///file.db, postgresql://user@host/name)")


def open_database(url: str) -> Database:
    """`sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://user@host/name`.

    Nothing is connected yet. Raises ValueError for another URL, without quoting it.
    """
    check_url(url)
    if url.startswith(_SQLITE):
        return SqliteDatabase(url.removeprefix(_SQLITE))
    # Only a fleet has this driver: SQLite comes with Python.
    from records.store.postgres import PostgresDatabase  # noqa: PLC0415

    return PostgresDatabase(url)
