"""All calls of a backend: whoever carries them, and those that nobody carries for a while.

    begin ─▶ carried ── its stream breaks, or moving ─▶ held ── hold_ms ─▶ over
                ▲ └───── resumed elsewhere ◀─────────────┘
                └─ from a stream that still lives, too: its owner is taken for dead

The handlers are tasks of the roster, because they outlive streams. A call that was hung up stays
for `hold_ms` as well: whoever resumes it hears the hang-up. At most MAX_HELD wait; the oldest goes.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from trunkline.backend.backend import Handler
from trunkline.backend.call import Call, CallOver
from trunkline.backend.joining import Joining

MAX_HELD = 4096
CANCEL_PATIENCE_S = 5.0  # for handlers that clean up; nobody waits longer for them

log = logging.getLogger(__name__)


class Carrier(Protocol):
    """A stream, as far as a call on it goes."""

    def forget(self, call: Call) -> None:
        """The call is over, or is carried elsewhere, or is held."""

    def tell(self, call: Call, joining: Joining) -> None:
        """Tell `joining` when all of the call that it waits for was taken in, or none will be."""


class Roster:
    """The calls, their handlers, and who carries each. `on_fewer` hears of each handler's end."""

    def __init__(self, handler: Handler, hold_ms: int, on_fewer: Callable[[], None]) -> None:
        self.hold_ms = hold_ms
        self._handler = handler
        self._on_fewer = on_fewer
        # A call that ended stays here until its handler has cleaned up.
        self._handlers: dict[Call, asyncio.Task[None]] = {}
        self._carriers: dict[Call, Carrier] = {}  # of the handlers; not there: held
        self._by_id: dict[str, Call] = {}  # those that may be resumed
        self._held: dict[Call, asyncio.TimerHandle] = {}  # oldest first

    @property
    def calls(self) -> list[Call]:
        """Live calls."""
        return [call for call in self._handlers if not call.over]

    @property
    def busy(self) -> bool:
        """Whether a call is live, or its handler still cleans up."""
        return bool(self._handlers)

    @property
    def held(self) -> int:
        """Calls that nobody carries, and hang-ups that perhaps nobody heard."""
        return len(self._held)

    def handled_for(self, carrier: Carrier) -> int:
        """Calls that `carrier` has begun or resumed and whose handlers are not done."""
        return sum(other is carrier for other in self._carriers.values())

    def begin(self, call: Call, carrier: Carrier) -> None:
        """Start the handler of a call."""
        before = self._by_id.get(call.id)
        if before is not None and call.restored is not None:
            self.end(before)  # the transceiver has lost it, and begins again where it was
        self._carriers[call] = carrier
        if call.resume_token and self.hold_ms:
            self._by_id[call.id] = call
        handler = asyncio.create_task(self._host(call), name=f"call {call.id}")
        self._handlers[call] = handler
        # Not left to `_host`: a task cancelled before its first step never enters its `finally`.
        handler.add_done_callback(lambda _: self._handler_done(call))

    def end(self, call: Call) -> None:
        """The transceiver ended the call, or nobody will."""
        self._forget(call)
        self._stop(call)

    def hung_up(self, call: Call) -> None:
        """The backend ended the call; who resumes it hears so."""
        self._stop(call)
        if self._known(call):
            self._keep(call)

    def lose(self, call: Call) -> None:
        """Nobody carries the call: hold it, or end it if nobody could resume it."""
        if not self._known(call):
            self.end(call)
            return
        call.hold()
        self._keep(call)
        log.info("call_held", extra={"call_id": call.id})
        self._leave(call)

    def resumable(self, call_id: str, token: bytes) -> Call | None:
        """The call that whoever has `token` may resume; the comparison takes the same time."""
        call = self._by_id.get(call_id)
        known = call.resume_token if call is not None else bytes(16)
        return call if hmac.compare_digest(known, token) else None

    def carrier_of(self, call: Call) -> Carrier | None:
        """Who carries it; None while it is held, and when it is over."""
        return None if call.over else self._carriers.get(call)

    def carry(self, call: Call, carrier: Carrier) -> None:
        """The live call goes on over `carrier`, whoever carried it before."""
        self._unkeep(call)
        self._leave(call)
        self._carriers[call] = carrier
        log.info("call_resumed", extra={"call_id": call.id})

    def end_held(self) -> None:
        """End all calls that nobody carries."""
        for call in list(self._held):
            self.end(call)

    def hold_none(self) -> None:
        """End calls with their streams from now on."""
        self.hold_ms = 0
        self._by_id.clear()
        self.end_held()

    async def cleaned_up(self, calls: Iterable[Call]) -> None:
        """Return when the handlers of `calls` are done, or have had CANCEL_PATIENCE_S."""
        tasks = [self._handlers[call] for call in calls if call in self._handlers]
        if not tasks:
            return
        _, stubborn = await asyncio.wait(tasks, timeout=CANCEL_PATIENCE_S)
        if stubborn:
            log.warning("handlers_ignore_cancellation", extra={"handlers": len(stubborn)})

    async def _host(self, call: Call) -> None:
        reason = "failed"
        try:
            await self._handler(call)
            reason = "hangup"
        except Exception as error:
            if not _only_over(error):
                log.exception("handler_failed", extra={"call_id": call.id})
        finally:
            self._handlers.pop(call, None)
            call.hang_up(reason)

    def _handler_done(self, call: Call) -> None:
        self._handlers.pop(call, None)
        self._carriers.pop(call, None)
        self._on_fewer()

    def _stop(self, call: Call) -> None:
        call.end()
        carrier = self._carriers.get(call)
        if carrier is not None:
            carrier.forget(call)
        handler = self._handlers.get(call)
        if handler is not None:
            handler.cancel()

    def _leave(self, call: Call) -> None:
        carrier = self._carriers.pop(call, None)
        if carrier is not None:
            carrier.forget(call)

    def _known(self, call: Call) -> bool:
        return self._by_id.get(call.id) is call

    def _keep(self, call: Call) -> None:
        self._unkeep(call)
        loop = asyncio.get_running_loop()
        self._held[call] = loop.call_later(self.hold_ms / 1000, self._expire, call)
        if len(self._held) > MAX_HELD:
            self._expire(next(iter(self._held)))

    def _unkeep(self, call: Call) -> None:
        timer = self._held.pop(call, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, call: Call) -> None:
        if not call.over:
            log.info("call_lost", extra={"call_id": call.id})
        self.end(call)

    def _forget(self, call: Call) -> None:
        self._unkeep(call)
        if self._known(call):
            del self._by_id[call.id]


def _only_over(error: Exception) -> bool:
    """Whether the call ended under the handler's hands, or under those of its task group."""
    if isinstance(error, ExceptionGroup):
        return all(map(_only_over, error.exceptions))
    return isinstance(error, CallOver)
