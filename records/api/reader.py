"""The store for handlers on an event loop: a few threads read, and not too many wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from records.api.problem import Problem
from records.store.database import Connection
from records.store.store import Store

THREADS = 4  # as many connections as the store keeps open
MAX_WAITING = 64  # more than a second of questions: who comes then is better told to come back

Answer = TypeVar("Answer")


class Reader:
    """Reads one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="reader")
        self._waiting = 0

    async def ask(self, question: Callable[[Connection], Answer]) -> Answer:
        """What a question gives, of one moment of the store. Raises Problem busy,
        StoreUnavailable."""
        return await self._run(lambda: self._read(question))

    async def erase(self, call_id: str) -> bool:
        """Forget what was said in a call; False when there is no such call."""
        return await self._run(lambda: self._store.erase(call_id))

    def close(self) -> None:
        """Wait for what is being read."""
        self._threads.shutdown()

    def _read(self, question: Callable[[Connection], Answer]) -> Answer:
        with self._store.reading() as connection:
            return question(connection)

    async def _run(self, work: Callable[[], Answer]) -> Answer:
        if self._waiting >= MAX_WAITING:
            raise Problem("busy", "Try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
