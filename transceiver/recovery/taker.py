"""Takes calls of a lost owner in, a few at a time, as long as there is room.

    store ── take ──▶ read, prepare (silent) ──▶ keep ──▶ claim at the relays ──▶ live
                          └─ refused: back to the others, or to nobody

Every process of the fleet does the same at the same time, so each gets the share that it has time
and room for. Nothing is sent for a call before it is kept: from then on it is this process's, and
its checkpoint says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

import structlog

from fleet.calls.owner import Owner
from fleet.calls.redis_checkpoints import Stored
from fleet.errors import StoreUnavailable
from transceiver.call.session import Session
from transceiver.call.states import State
from transceiver.counters import Counted, takeover_refused
from transceiver.engine.refusals import EngineRefusal
from transceiver.link.errors import BackendRefused, CallUnknown, LinkError
from transceiver.link.model_link import ModelLink
from transceiver.recovery.checkpoint import Checkpoints, TooLarge
from transceiver.recovery.refusal import Refusal, Refused
from transceiver.recovery.reserve import advanced, reserve_for
from transceiver.takeover.session_state import Reserve, SessionState

BATCH = 8  # calls taken together: some 10 ms, and others find the rest
AGAIN_S = 0.5  # there may be more, or more room
ANSWER_S = 5.0  # of a backend; it waits for nothing when an owner was lost

log = structlog.get_logger(__name__)


class Between(Protocol):
    """What the taker needs of `transceiver.engine.between`."""

    def prepare(
        self, state: SessionState, link: ModelLink, reserve: Reserve, *, fenced: int
    ) -> None:
        """Resume a call, silent."""

    def forget(self, call_id: str) -> bool:
        """Let a prepared call go."""

    def go_live_when_claimed(
        self,
        call_id: str,
        failed: Callable[[Exception], None],
        live: Callable[[Session], object],
    ) -> None:
        """Go on with it."""


class Engine(Protocol):
    """And of the engine."""

    draining: bool

    @property
    def between(self) -> Between:
        """Its calls that are between two owners."""

    @property
    def owner(self) -> Owner:
        """Who this process is."""

    def find(self, call_id: str) -> Session | None:
        """The live call of that id."""

    @property
    def free_places(self) -> int:
        """How many calls more it takes."""

    def count(self, reason: str, amount: int = 1) -> None:
        """Add to a counter."""


class Store(Protocol):
    """And of the store (`fleet.calls.redis_checkpoints`)."""

    async def take(self, lost: Owner, taker: Owner, most: int) -> list[Stored]:
        """Some calls of the lost owner."""

    async def keep(self, lost: Owner, taker: Owner, calls: Sequence[Stored]) -> list[str]:
        """They are the taker's."""

    async def give_back(
        self, lost: Owner, taker: Owner, for_others: Sequence[str], for_nobody: Sequence[str] = ()
    ) -> None:
        """They are not."""


class Taker:
    """Takes calls into `engine`.

    `backend_of` gives the link to the backend that has the conversation of a call, or raises
    LinkError. `unix_s` is the time of checkpoints.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        checkpoints: Checkpoints,
        backend_of: Callable[[SessionState], ModelLink],
        *,
        unix_s: Callable[[], float] = time.time,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._engine = engine
        self._store = store
        self._checkpoints = checkpoints
        self._backend_of = backend_of
        self._unix_s = unix_s
        self._pause = pause
        self._joining: set[asyncio.Task[None]] = set()

    async def take_share(self, lost: Owner) -> None:
        """Take calls of `lost` until cancelled: there may be room, or a store, in a moment."""
        while True:
            try:
                if not await self._take_some(lost):
                    await self._pause(AGAIN_S)
            except StoreUnavailable:
                await self._pause(AGAIN_S)

    async def _take_some(self, lost: Owner) -> bool:
        """Take up to BATCH calls; whether there were any that somebody could go on with."""
        engine = self._engine
        me, most = engine.owner, min(BATCH, engine.free_places)
        if engine.draining or most <= 0:
            return False
        found = await self._store.take(lost, me, most)
        refused: dict[str, Refusal] = {}
        ready = {
            one.call_id: call for one in found if (call := self._prepared(lost, me, one, refused))
        }
        try:
            kept = await self._kept(lost, me, list(ready.values()))
        except BaseException:
            self._forget(ready)
            raise
        late = ready.keys() - kept
        refused |= dict.fromkeys(late, Refusal.LATE)
        self._forget(late)
        for call_id in kept:
            self._begin(lost, call_id)
        await self._refuse(lost, me, refused)
        return bool(kept)

    async def _kept(self, lost: Owner, me: Owner, calls: Sequence[Stored]) -> list[str]:
        """Those that are this process's now. It asks until that is known."""
        while calls:
            try:
                return await self._store.keep(lost, me, calls)
            except StoreUnavailable:
                await self._pause(AGAIN_S)
        return []

    def _prepared(
        self, lost: Owner, me: Owner, stored: Stored, refused: dict[str, Refusal]
    ) -> Stored | None:
        """The call, silent in this engine, and as it is to be kept under this process."""
        try:
            return self._prepare(lost, me, stored)
        except Refused as refusal:
            refused[stored.call_id] = refusal.reason
        except LinkError:
            refused[stored.call_id] = Refusal.NO_BACKEND
        except EngineRefusal:
            refused[stored.call_id] = Refusal.NO_ROOM
        except (ValueError, TooLarge):
            refused[stored.call_id] = Refusal.NOT_RESUMABLE
        return None

    def _prepare(self, lost: Owner, me: Owner, stored: Stored) -> Stored:
        if self._engine.find(stored.call_id) is not None:
            raise Refused(Refusal.HERE_ALREADY)
        unix_s = self._unix_s()
        state = self._checkpoints.read(lost, stored, unix_s)
        link = self._backend_of(state)
        reserve = reserve_for(unix_s - state.unix_s)
        own = self._checkpoints.write_whole(me, advanced(state, reserve, unix_s))
        self._engine.between.prepare(state, link, reserve, fenced=lost.sender)
        return own

    def _begin(self, lost: Owner, call_id: str) -> None:
        def failed(error: Exception) -> None:
            backend = isinstance(error, LinkError)
            reason = Refusal.BACKEND_REFUSED if backend else Refusal.NOT_RESUMABLE
            self._note(lost, call_id, reason)

        def live(session: Session) -> None:
            task = asyncio.create_task(self._joined(lost, session))
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)

        self._engine.count(Counted.CALLS_TAKEN_OVER)
        log.info("call_taken_over", call_id=call_id, node=lost.node, epoch=lost.epoch)
        self._engine.between.go_live_when_claimed(call_id, failed, live)

    async def _joined(self, lost: Owner, session: Session) -> None:
        """Hear whether the backend goes on with the call, as it was asked to."""
        try:
            await session.accepted(ANSWER_S)
        except LinkError as error:
            if session.state is State.ENDED:
                return
            self._note(lost, session.call_id, Refusal.BACKEND_REFUSED)
            if isinstance(error, BackendRefused) and not isinstance(error, CallUnknown):
                session.on_backend_lost()  # of all else the session hears by itself

    async def _refuse(self, lost: Owner, me: Owner, refused: dict[str, Refusal]) -> None:
        if not refused:
            return
        for call_id, reason in refused.items():
            self._note(lost, call_id, reason)
        nobody = [call_id for call_id, reason in refused.items() if reason.final]
        others = [call_id for call_id in refused if call_id not in nobody]
        await self._store.give_back(lost, me, others, nobody)

    def _note(self, lost: Owner, call_id: str, reason: Refusal) -> None:
        self._engine.count(takeover_refused(reason.value))
        log.warning(
            "takeover_refused",
            call_id=call_id,
            node=lost.node,
            epoch=lost.epoch,
            reason=reason.value,
        )

    def _forget(self, call_ids: Iterable[str]) -> None:
        for call_id in call_ids:
            self._engine.between.forget(call_id)
