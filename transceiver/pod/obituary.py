"""A pod's parent says that a process of it has died, so that others go on with its calls at once.

It saw the exit itself, so nobody else needs to confirm it. A word over pub/sub can be missed, so it
is said again a few times; whoever has heard it does nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from fleet.calls.owner import Owner
from fleet.errors import StoreUnavailable
from fleet.suspicion import Cause, Suspicion, SuspicionChannel

# Seconds after the death. A transceiver that lost Redis listens again within 3 s of its return.
TIMES_S = (0.0, 0.5, 1.5, 4.0, 8.0, 15.0, 25.0)
MAX_UNDER_WAY = 256

_log = structlog.get_logger(__name__)


class Obituaries:
    """Says what `died`, beside everything else; `close` ends that."""

    def __init__(
        self,
        channel: SuspicionChannel,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._channel = channel
        self._pause = pause
        self._under_way: set[asyncio.Task[None]] = set()

    def died(self, owner: Owner) -> None:
        """The process that was this node is no more."""
        if len(self._under_way) >= MAX_UNDER_WAY:
            return
        task = asyncio.create_task(self._say(owner), name=f"obituary {owner}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Say nothing more."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._channel.close()

    async def _say(self, owner: Owner) -> None:
        suspicion = Suspicion(owner.node, owner.epoch, Cause.DIED)
        said_s = 0.0
        for at_s in TIMES_S:
            await self._pause(at_s - said_s)
            said_s = at_s
            try:
                await self._channel.publish(suspicion)
            except StoreUnavailable as error:
                _log.warning("death_not_said", node=owner.node, reason=str(error))
