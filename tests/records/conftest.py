"""Stores for tests: each one in SQLite and in a real Postgres."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.stand.postgres import PostgresServer
from records.store.store import Store


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One Postgres for the whole run; make a database in it."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as directory:
        server = PostgresServer(Path(directory) / "cluster")
        server.create()
        server.start()
        yield server
        server.remove()


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty store, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/records.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.make(f"t_{secrets.token_hex(6)}")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """The same, with the schema of this version."""
    opened = Store(store_url)
    opened.migrate()
    yield opened
    opened.close()
