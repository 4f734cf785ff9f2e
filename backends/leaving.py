"""How a backend leaves: transceivers take their next calls elsewhere, those that are here end when
they end.

    SIGTERM ─▶ leaving ── no call left, or the deadline, or a second signal ─▶ hang-ups ─▶ gone
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from fleet.ending import first_of

# For transceivers to turn to another stream: as long as they wait for its greeting. Until then they
# may still have a call for this one.
TURNING_S = 5.0
GOODBYE_S = 2.0  # for the last hang-ups to leave

log = structlog.get_logger()


class Leaver(Protocol):
    """What is asked of a `BackendServer`."""

    async def drain(self, deadline_s: float = 0) -> int:
        """Ask for no new calls; says how many are live."""

    def dismiss_all(self, reason: str) -> int:
        """Hang up; says how many calls."""

    async def idle(self) -> None:
        """Return when no call is live."""

    async def deserted(self) -> None:
        """Return when no transceiver is connected."""


async def leave(backend: Leaver, deadline_s: float, stop: asyncio.Event) -> None:
    """Return when no call is left; `stop` was set, and set again it ends the waiting."""
    stop.clear()
    calls = await backend.drain()
    log.info("drain_began", calls=calls, deadline_s=deadline_s)
    await first_of(deadline_s, _left(backend), stop.wait())
    dismissed = backend.dismiss_all("drained")
    if dismissed:
        await first_of(GOODBYE_S, backend.deserted())
    log.info("drain_ended", calls_dismissed=dismissed)


async def _left(backend: Leaver) -> None:
    await first_of(TURNING_S, backend.deserted())
    await backend.idle()
