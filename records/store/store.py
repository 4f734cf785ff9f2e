"""The store as other parts use it: it holds the database and the rules of what is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from records.store import writing
from records.store.database import Connection
from records.store.erasure import erase
from records.store.opening import open_database
from records.store.retention import Retention, forget
from records.store.rows import Recorded
from records.store.schema import check, migrate, version_of
from records.store.writing import Written


class Store:
    """A store at a URL (`records.store.opening.open_database`).

        store = Store("sqlite:////var/lib/trunkline/records.db")
        store.migrate()                                # the recorder does; readers `check`
        store.write(events)
        with store.reading() as connection:
            reading.calls(connection, CallFilter(limit=20))
        store.close()

    All of it blocks: from an event loop call it by `asyncio.to_thread`. Raises StoreUnavailable,
    and may be used again afterwards.
    """

    def __init__(self, url: str, unix_s: Callable[[], float] = time.time) -> None:
        """Raise ValueError for a URL that cannot be read."""
        self.database = open_database(url)
        self._unix_s = unix_s

    @property
    def place(self) -> str:
        """Where it is, without a password."""
        return self.database.place

    def migrate(self) -> int:
        """Bring the schema to this version; the version before. Raises WrongSchema."""
        return migrate(self.database)

    def check(self) -> None:
        """Raise WrongSchema unless the schema is of this version."""
        with self.reading() as connection:
            check(version_of(connection))

    def write(self, events: Sequence[Recorded]) -> Written:
        """Store events, each once. When this raises, none of them is stored."""
        with self.database.transaction() as connection:
            return writing.write(connection, events, self._now_us())

    def sign(self, make: Callable[[Connection, int], object]) -> bool:
        """Let `make` add a signed root at this time; whether it did."""
        with self.database.transaction() as connection:
            return make(connection, self._now_us()) is not None

    def forget(self, retention: Retention) -> None:
        """Forget what is older than it may be."""
        with self.database.transaction() as connection:
            forget(connection, retention, self._now_us())

    def erase(self, call_id: str) -> bool:
        """Forget what was said in a call; False when there is no such call."""
        with self.database.transaction() as connection:
            return erase(connection, call_id, self._now_us())

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for `records.store.reading`."""
        with self.database.transaction(write=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection for other tables that stand beside the record."""
        with self.database.transaction() as connection:
            yield connection

    def close(self) -> None:
        """Let go of all connections."""
        self.database.close()

    def _now_us(self) -> int:
        return int(self._unix_s() * 1_000_000)
