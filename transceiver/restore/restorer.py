"""Finds another backend for each call that lost its own.

Session.on_backend_lost ─▶ Restorer ─ a task for each lost call ─▶ Search says: wait, ask, give up
                              └─ admitted by the limits, allowed by the breaker ─▶ Session.ask
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from fleet.ending import end
from fleet.limits.rules import LimitReached
from transceiver.call.session import Session
from transceiver.counters import Counted
from transceiver.engine.call_tickets import CallTickets
from transceiver.engine.engine import Engine
from transceiver.link.backends import Backends, Choice
from transceiver.link.errors import CallUnknown, LinkError
from transceiver.link.retry_budget import RetryBudget
from transceiver.restore.policy import GiveUp, Losses, Search, Wait

ANSWER_S = 5.0  # for a backend to say yes or no, as for a new call
ASKED_AT_ONCE = 64  # a backend with a thousand calls is not answered for by a thousand questions

log = structlog.get_logger(__name__)


class Restorer:
    """`within_s` is how long a call may be without a backend.

    `lost` is for whoever finds that a call has none: its stream broke, or a backend does not know
    a call that it was to resume. `searching` counts the calls that wait. `close` gives them up.
    """

    def __init__(
        self,
        engine: Engine,
        backends: Backends,
        tickets: CallTickets,
        retries: RetryBudget,
        within_s: float,
    ) -> None:
        self._engine = engine
        self._backends = backends
        self._tickets = tickets
        self._retries = retries
        self._within_s = within_s
        self._losses: dict[str, Losses] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._news = asyncio.Event()
        backends.on_ready(self._news.set)
        engine.on_backend_lost = self.lost
        engine.listen_ended(self._forget)

    @property
    def searching(self) -> int:
        """Calls without a backend."""
        return len(self._tasks)

    def lost(self, call: Session) -> bool:
        """Look for a backend for this call; False where it has lost too many."""
        self._engine.count(Counted.CALL_BACKEND_LOST)
        losses = self._losses.setdefault(call.call_id, Losses())
        losses.note(self._engine.now())
        log.warning("call_backend_lost", call_id=call.call_id, losses=losses.total)
        if losses.too_many:
            self._not_restored(call, "too_many_losses")
            return False
        self._begin(call)
        return True

    async def close(self) -> None:
        """Look no further."""
        await end(list(self._tasks.values()))

    def _forget(self, call_id: str) -> None:
        self._losses.pop(call_id, None)
        task = self._tasks.pop(call_id, None)
        if task is not None:
            task.cancel()

    def _begin(self, call: Session) -> None:
        before = self._tasks.pop(call.call_id, None)
        if before is not None:
            before.cancel()  # it has just heard that its backend took the call
        task = asyncio.create_task(self._guarded(call), name=f"restore {call.call_id}")
        self._tasks[call.call_id] = task
        task.add_done_callback(lambda done: self._done(call.call_id, done))

    def _done(self, call_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(call_id) is task:
            del self._tasks[call_id]

    async def _guarded(self, call: Session) -> None:
        with self._engine.guarded(call):
            await self._search(call)

    async def _search(self, call: Session) -> None:
        self._retries.earn()
        search: Search[Choice] = Search(self._engine.now(), self._within_s, self._retries.spend)
        while not call.leaving:
            same, others = self._candidates(call)
            step = search.next(self._engine.now(), same, others)
            if isinstance(step, GiveUp):
                self._not_restored(call, step.reason)
                call.give_up()
                return
            if isinstance(step, Wait):
                await self._wait(step.until_s - self._engine.now())
            elif await self._taken(call, step.whom, search):
                return

    def _candidates(self, call: Session) -> tuple[Choice | None, list[Choice]]:
        line = call.line
        lost = self._backends.of(line.link)
        if lost is None:
            return None, []
        terms = line.terms
        choices = self._backends.successors(lost, terms.session_json, terms.audio_format)
        same = [choice for choice in choices if choice.backend is lost]
        return (same[0] if same else None), [c for c in choices if c.backend is not lost]

    async def _taken(self, call: Session, choice: Choice, search: Search[Choice]) -> bool:
        """Whether the backend takes the call."""
        async with self._asking:
            try:
                backend = await self._tickets.admit_again(call.call_id, [choice])
                if call.leaving:
                    return False
                handle = call.ask(self._backends.ask(backend))
            except (LinkError, LimitReached):
                search.put_off(self._engine.now())
                return False
            try:
                await handle.accepted(min(ANSWER_S, search.ends_s - self._engine.now()))
            except CallUnknown:
                pass  # it does not hold it, and is asked next whether it goes on with it
            except LinkError:
                search.failed(self._engine.now())
            finally:
                if call.handle is not handle:  # it must not take the call later
                    handle.close("failed")
            return call.handle is handle

    async def _wait(self, seconds: float) -> None:
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._news.wait()

    def _not_restored(self, call: Session, reason: str) -> None:
        self._engine.count(Counted.CALL_BACKEND_NOT_RESTORED)
        log.warning("call_backend_not_restored", call_id=call.call_id, reason=reason)
