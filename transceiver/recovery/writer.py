"""Keeps every live call in the store, beside the media and never before it.

    engine ── changed, ended ─▶ DueCalls ── a few a turn ─▶ export, seal ── one script ─▶ store

A turn is TICK_S long, takes MOST_A_TURN calls at most and lets the loop come round between them.
One script is on its way at a time. So a store that is slow makes checkpoints older, and one that is
away costs a try now and then; what is written afterwards is the newest there is, and all of it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from fleet.backoff import Pace
from fleet.calls.owner import Owner
from fleet.calls.redis_checkpoints import Stored
from fleet.errors import StoreUnavailable
from fleet.outages import OutageCounter
from transceiver.counters import Counted
from transceiver.recovery.checkpoint import Checkpoints, TooLarge
from transceiver.recovery.due import DueCalls
from transceiver.takeover.session_state import SessionState

TICK_S = 0.04
MOST_A_TURN = 50  # 1,250 calls a second
MOST_ENDED = 10_000  # that the store has not heard of; it forgets the others by itself
MOST_ENDED_A_TURN = 500  # Redis does nothing else while a script runs
AWAY_PACE = Pace(first_s=0.1, longest_s=0.5)  # within 2 s of its return all calls are there again
WHOLE_EACH = 10  # checkpoints: then the session comes along, under the key of now
_AT_ONCE = 4  # calls between two rounds of the loop: 0.4 ms

log = structlog.get_logger(__name__)


class Calls(Protocol):
    """What the writer needs of the engine."""

    @property
    def owner(self) -> Owner:
        """Who has the calls: this process, by its lease."""

    def checkpoint(self, call_id: str) -> SessionState | None:
        """A call as a value; None for one that has not connected, or is not here."""

    def kept(self, call_id: str, taken_events: int) -> None:
        """A checkpoint knows of the backend's events up to there."""

    def count(self, reason: str, amount: int = 1) -> None:
        """Add to a counter."""


class Puts(Protocol):
    """What it needs of the store."""

    async def put(
        self, owner: Owner, calls: Sequence[Stored], ended: Sequence[str] = ()
    ) -> list[str]:
        """As `RedisCheckpoints.put`."""


class CheckpointWriter:
    """Run it (`run`) beside the engine, and let it hear of `changed` and `ended` calls.

    `close` says once more which calls have ended. `now` is a clock in seconds.
    """

    def __init__(
        self,
        calls: Calls,
        store: Puts,
        checkpoints: Checkpoints,
        now: Callable[[], float],
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._calls = calls
        self._store = store
        self._checkpoints = checkpoints
        self._now = now
        self._pause = pause
        self._due = DueCalls()
        self._ended: dict[str, None] = {}
        # Calls of which the store has something, perhaps; how often since their session was put.
        self._stored: Counter[str] = Counter()
        self._lacking: set[str] = set()  # and those whose session it has not
        self._owner: Owner | None = None
        self._outages = OutageCounter("checkpoints")

    def changed(self, call_id: str) -> None:
        """A call is to be kept soon."""
        self._due.changed(call_id, self._now())
        self._ended.pop(call_id, None)

    def ended(self, call_id: str) -> None:
        """A call is no longer here."""
        if call_id in self._stored and len(self._ended) < MOST_ENDED:
            self._ended[call_id] = None
        self._stored.pop(call_id, None)
        self._due.forget(call_id)
        self._lacking.discard(call_id)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._pause(AWAY_PACE.wait_s(self._outages.failures) or TICK_S)
            await self.turn()

    async def turn(self) -> bool:
        """Write what is due, and say whether that went well: what did not is tried again."""
        due = self._due.take(self._now(), MOST_A_TURN)
        ended = list(itertools.islice(self._ended, MOST_ENDED_A_TURN))
        if not due and not ended:
            return True
        try:
            await self._write(due, ended)
        except StoreUnavailable as error:
            self._failed(due, error)
        except Exception as error:
            if not self._outages.failures:
                log.exception("checkpoints_failed")
            self._failed(due, error)
        return not self._outages.failures

    async def close(self) -> None:
        """Let the store forget the calls that have ended."""
        self._due = DueCalls()
        while self._ended and await self.turn():
            pass

    async def _write(self, due: list[str], ended: list[str]) -> None:
        owner = self._calls.owner
        if owner != self._owner:
            self._owner = owner
            self._due.all_due()  # a new lease: nothing is kept under it
        taken: dict[str, int] = {}
        calls = [stored async for stored in self._exported(owner, due, taken)]
        missing = await self._store.put(owner, calls, ended)
        for call_id, taken_events in taken.items():
            self._calls.kept(call_id, taken_events)
        for call_id in ended:
            self._ended.pop(call_id, None)
        self._answered(calls, missing)

    def _answered(self, calls: Sequence[Stored], missing: Sequence[str]) -> None:
        if self._outages.failures:
            self._due.all_due()  # the store may have come back empty
        self._outages.answered()
        self._calls.count(Counted.CHECKPOINTS, len(calls))
        for stored in calls:
            if stored.session and stored.call_id in self._stored:
                self._stored[stored.call_id] = 0
        self._lacking -= {stored.call_id for stored in calls}
        for call_id in missing:
            if call_id in self._due:
                self._lacking.add(call_id)
                self._due.failed([call_id])

    def _failed(self, due: list[str], error: Exception) -> None:
        self._outages.failed(error)
        self._due.failed(due)
        self._calls.count(Counted.CHECKPOINTS_FAILED)

    async def _exported(
        self, owner: Owner, due: Sequence[str], taken: dict[str, int]
    ) -> AsyncIterator[Stored]:
        for number, call_id in enumerate(due, 1):
            state = self._calls.checkpoint(call_id)
            if state is None:  # not connected yet, or any more: it says so when it is
                self._due.forget(call_id)
                continue
            self._stored[call_id] += 1  # from here on: it may end before the store has it
            whole = call_id in self._lacking or self._stored[call_id] >= WHOLE_EACH
            write = self._checkpoints.write_whole if whole else self._checkpoints.write
            try:
                yield write(owner, state)
                taken[call_id] = state.link.taken_events
            except TooLarge:
                self._calls.count(Counted.CHECKPOINT_TOO_LARGE)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
