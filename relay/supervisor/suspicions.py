"""Tells the transceivers which of them this relay does not hear any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from fleet.errors import StoreUnavailable
from fleet.outages import OutageCounter
from fleet.suspicion import Cause, Suspicion, SuspicionChannel
from relay.shared.nodes import FlowOwner
from relay.supervisor.crew import Crew
from relay.supervisor.silence import AGAIN_MS, LOOK_S, Silence
from relay.supervisor.suspicion_counts import SuspicionCounts

MOST_UNSAID = 256

_log = structlog.get_logger(__name__)


class Suspicions:
    """Looks at the workers' shared memory, and says what it sees. No packet waits for it.

    To say it may take long, or fail: so looking and saying are two loops, and what waits in between
    is bounded. What could not be said within a second is let go: it is seen again while it is so.
    """

    def __init__(
        self,
        crew: Crew,
        channel: SuspicionChannel,
        *,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._crew = crew
        self._channel = channel
        self._counts: SuspicionCounts = crew.suspicion_counts
        self._now = now
        self._pause = pause
        self._silence = Silence(crew.nodes)
        self._unsaid: asyncio.Queue[tuple[FlowOwner, float]] = asyncio.Queue(MOST_UNSAID)
        self._outages = OutageCounter("suspicions")

    def loops(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What looks and says until cancelled, by name."""
        return {"silence": self._look_on, "suspicions": self._say_all}

    async def close(self) -> None:
        """Let go of the connection."""
        await self._channel.close()

    async def _look_on(self) -> None:
        while True:
            await self._pause(LOOK_S)
            self.look()

    def look(self) -> None:
        """One look at who is silent."""
        now_s = self._now()
        beats = [post.memory.beat_ms for post in self._crew.posts]
        for owner in self._silence.look(int(now_s * 1000), min(beats, default=0)):
            self._counts.suspicions += 1
            _log.info("transceiver_silent", node=owner.node)
            if self._unsaid.full():
                self._counts.suspicions_unsaid += 1
            else:
                self._unsaid.put_nowait((owner, now_s))

    async def _say_all(self) -> None:
        while True:
            owner, seen_s = await self._unsaid.get()
            if self._now() - seen_s < AGAIN_MS / 1000:
                await self._say(owner)
            else:
                self._counts.suspicions_unsaid += 1
            await self._pause(self._outages.pause_s)

    async def _say(self, owner: FlowOwner) -> None:
        try:
            await self._channel.publish(Suspicion(owner.node, owner.epoch, Cause.SILENT))
        except StoreUnavailable as error:
            self._counts.suspicions_unsaid += 1
            self._outages.failed(error)
        else:
            self._outages.answered()
