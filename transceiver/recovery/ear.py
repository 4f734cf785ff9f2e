"""Listens to who may be dead, and goes on listening after an outage of the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

import structlog

from fleet.errors import StoreUnavailable
from fleet.outages import OutageCounter
from fleet.suspicion import Suspicion

log = structlog.get_logger(__name__)


class Says(Protocol):
    """The channel."""

    def listen(self) -> AsyncGenerator[Suspicion, None]:
        """As `SuspicionChannel.listen`."""


class Ear:
    """Gives what the channel says to `hear`."""

    def __init__(
        self,
        channel: Says,
        hear: Callable[[Suspicion], None],
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._channel = channel
        self._hear = hear
        self._pause = pause
        self._outages = OutageCounter("suspicions")

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except StoreUnavailable as error:
                self._outages.failed(error)
            except Exception as error:
                log.exception("suspicions_failed")
                self._outages.failed(error)
            await self._pause(self._outages.pause_s)

    async def _listen(self) -> None:
        async with aclosing(self._channel.listen()) as words:
            async for suspicion in words:
                self._outages.answered()
                self._hear(suspicion)
