"""Which live call holds which place in the limits, and what it uses of its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import structlog

from fleet.limits.call_limits import CallLimits, Ticket
from transceiver.link.backends import Backend, Choice
from transceiver.takeover.session_state import Places
from trunkline.v1 import model_pb2

log = structlog.get_logger(__name__)


class TicketCall(Protocol):
    """What tickets need of a call, which takes its places along when it moves."""

    places: Places | None


class TicketEngine(Protocol):
    """What tickets need of the engine."""

    def find(self, call_id: str) -> TicketCall | None:
        """The live call of that id."""

    def dismiss(self, call_id: str, reason: str) -> bool:
        """End a call after its caller was told why."""

    def listen_ended(self, listener: Callable[[str], None]) -> None:
        """Hear of every call that is no longer live."""

    def listen_moved(self, here: Callable[[str], None], away: Callable[[str], None]) -> None:
        """Hear of every call that came from another process, or goes on in one."""


class CallTickets:
    """Joins the limits and the engine: a call that ends gives its place back, a call whose budget
    is used up ends. Holds one ticket for each live call, no more."""

    def __init__(self, limits: CallLimits, engine: TicketEngine) -> None:
        self._limits = limits
        self._engine = engine
        self._opening: dict[str, Ticket] = {}  # by call, until a backend has taken it
        self._by_call: dict[str, Ticket] = {}
        engine.listen_ended(self._ended)
        engine.listen_moved(self._moved_here, self._moved_away)
        limits.on_exhausted = self._exhausted
        self.on_used_up: Callable[[str, str], None] = lambda _call_id, _subject: None

    def __len__(self) -> int:
        return len(self._by_call)

    @contextmanager
    def ticket(self, key_id: str) -> Iterator[Ticket]:
        """A ticket for a call that is about to be placed; given back when that fails."""
        ticket = Ticket(key_id)
        try:
            yield ticket
        except BaseException:
            self._limits.ended(ticket)
            raise

    async def admit(self, ticket: Ticket, choices: Sequence[Choice]) -> Backend:
        """The first backend that the limits let the call have. Raises LimitReached."""
        number = await self._limits.admit(ticket, [choice.models for choice in choices])
        return choices[number].backend

    async def admit_again(self, call_id: str, choices: Sequence[Choice]) -> Backend:
        """The first backend that the limits let a live call move to, with its place.

        Raises LimitReached; the call then keeps the place it has.
        """
        ticket = self._by_call.get(call_id)
        return choices[0].backend if ticket is None else await self.admit(ticket, choices)

    def opened(self, ticket: Ticket, call_id: str) -> None:
        """What this call uses is the ticket's; a call that is not taken leaves the ticket alone."""
        self._opening[call_id] = ticket

    def bind(self, ticket: Ticket, call_id: str) -> None:
        """The ticket is this live call's from now on."""
        self._opening.pop(call_id, None)
        call = self._engine.find(call_id)
        if call is None:  # it ended meanwhile
            self._limits.ended(ticket)
        else:
            self._by_call[call_id] = ticket
            call.places = Places(ticket.id, ticket.key_id, ticket.subjects)

    def _moved_away(self, call_id: str) -> None:
        """A call goes on in another process, with its places: nothing is given back here."""
        ticket = self._by_call.pop(call_id, None)
        if ticket is not None:
            self._limits.moved(ticket)

    def _moved_here(self, call_id: str) -> None:
        """A call of another process goes on here, and so do its places."""
        call = self._engine.find(call_id)
        places = call.places if call is not None else None
        if places is not None:
            ticket = Ticket(places.key_id, places.subjects, places.ticket)
            self._by_call[call_id] = ticket
            self._limits.adopt(ticket)

    def used(self, call_id: str, usage: model_pb2.Usage) -> None:
        """The backend says what a call used."""
        ticket = self._by_call.get(call_id) or self._opening.get(call_id)
        if ticket is not None:
            self._limits.spent(ticket, usage.input_tokens + usage.output_tokens)

    def _ended(self, call_id: str) -> None:
        self._opening.pop(call_id, None)
        ticket = self._by_call.pop(call_id, None)
        if ticket is not None:
            self._limits.ended(ticket)

    def _exhausted(self, subjects: frozenset[str]) -> None:
        tickets = self._opening | self._by_call
        over = [call for call, held in tickets.items() if subjects & set(held.subjects)]
        for call_id in over:
            for subject in sorted(subjects & set(tickets[call_id].subjects)):
                self.on_used_up(call_id, subject)
            self._engine.dismiss(call_id, "budget")
        if over:
            log.info("budget_used_up", subjects=sorted(subjects), calls=len(over))
