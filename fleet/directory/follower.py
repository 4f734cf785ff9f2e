"""Keeps a relay's directory up to date, and keeps it while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import structlog

from fleet.directory.directory import Directory, Node, Snapshot
from fleet.directory.store import Store
from fleet.errors import StoreUnavailable
from fleet.outages import OutageCounter

log = structlog.get_logger(__name__)


class DirectoryFollower:
    """Feeds `directory` from a store.

        follower = DirectoryFollower(store)
        await follower.load()                   # at start; raises StoreUnavailable
        tasks.create_task(follower.run())       # until cancelled

    `loaded` stays true once a snapshot was seen: readiness must not depend on the store afterwards,
    or an outage of the store becomes one of the whole edge. `outages` counts them.
    """

    def __init__(
        self,
        store: Store,
        directory: Directory | None = None,
        *,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._pause = pause
        self._outages = OutageCounter("directory_follower")
        self.directory = Directory() if directory is None else directory
        self.loaded = False

    @property
    def outages(self) -> int:
        """How often the store stopped answering."""
        return self._outages.outages

    async def load(self) -> None:
        """Read the directory once. Raises StoreUnavailable."""
        self._hear(await self._store.snapshot())

    async def run(self) -> None:
        """Follow the store until cancelled; after an outage, start again with a snapshot."""
        while True:
            try:
                await self._follow()
            except StoreUnavailable as error:
                self._outages.failed(error)
            except Exception as error:
                # A fault of ours: what the directory has is still right.
                if not self._outages.failures:
                    log.exception("directory_follower_failed")
                self._outages.failed(error)
            await self._pause(self._outages.pause_s)

    async def _follow(self) -> None:
        async with aclosing(self._store.watch()) as watch:
            async for news in watch:
                self._hear(news)

    def _hear(self, news: Snapshot | Node) -> None:
        self.directory.apply(news)
        self.loaded = self.loaded or isinstance(news, Snapshot)
        self._outages.answered()
