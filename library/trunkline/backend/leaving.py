"""How a backend leaves: transceivers take their next calls elsewhere, those that are here end when
they end.

    SIGTERM ─▶ leaving ── no call left, or the deadline, or a second signal ─▶ hang-ups ─▶ gone
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol

# For transceivers to turn to another stream: as long as they wait for its greeting. Until then they
# may still have a call for this one.
TURNING_S = 5.0
GOODBYE_S = 2.0  # for the last hang-ups to leave

log = logging.getLogger(__name__)


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
    log.info("drain_began", extra={"calls": calls, "deadline_s": deadline_s})
    waits = [asyncio.ensure_future(wait) for wait in (_left(backend), stop.wait())]
    try:
        await asyncio.wait(waits, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    dismissed = backend.dismiss_all("drained")
    if dismissed:
        await _at_most(GOODBYE_S, backend.deserted())
    log.info("drain_ended", extra={"calls_dismissed": dismissed})


async def _left(backend: Leaver) -> None:
    await _at_most(TURNING_S, backend.deserted())
    await backend.idle()


async def _at_most(longest_s: float, wait: Coroutine[Any, Any, None]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await wait
