"""Turns an offer into a call: what both HTTP surfaces have in common.

    room here? ─▶ a share? ─▶ offer ─▶ backends ─▶ limits choose one ─▶ it says yes ─▶ answer
                              ▲                              └─ no, or nothing: once more,
                              └──────────────────────────────── while there are retries to spend

The cheapest refusal comes first, because in a storm refusing is most of the work. Reading an
offer, making a call and writing an answer each have a turn of the event loop to themselves
(`loop_turns`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fleet.limits.call_limits import Ticket
from fleet.limits.rules import LimitReached
from transceiver.call.offer import Offer
from transceiver.call.principal import Principal
from transceiver.call.sidebands import Sidebands
from transceiver.engine.call_tickets import CallTickets
from transceiver.engine.refusals import CallFailed, Draining, TooManyCalls
from transceiver.link.backends import Backend, Backends, Choice, UnknownBackend
from transceiver.link.errors import BackendAbsent, BackendRefused, CallLimit, LinkError
from transceiver.link.model_link import ModelLink
from transceiver.link.retry_budget import RetryBudget
from transceiver.signaling.answer import LocalIdentity, write_answer
from transceiver.signaling.loop_turns import LoopTurns
from transceiver.signaling.offer_policy import CheckedOffer, OfferRefused, read_offer
from transceiver.signaling.problem import Problem
from transceiver.signaling.unconnected import Unconnected
from trunkline.process.address import Address

ACCEPT_TIMEOUT_S = 5.0  # for the backend to say yes or no to one call
# Full: others were faster, between the choice and the call.
_RETRIED = frozenset({"backend_refused", "backend_absent", "backend_full"})


class CallSession(Protocol):
    """What signaling needs of a live call."""

    @property
    def call_id(self) -> str:
        """The public id, `rtc_…`."""

    @property
    def placed_by(self) -> Principal:
        """Whose call it is."""

    @property
    def offer(self) -> Offer:
        """What the caller offered."""

    @property
    def local_ufrag(self) -> str:
        """Our ICE username fragment, of the latest restart."""

    @property
    def local_password(self) -> str:
        """Our ICE password."""

    @property
    def ssrc(self) -> int:
        """Of the RTP stream we send."""

    @property
    def cname(self) -> str:
        """Of that stream, as RTCP SDES says it."""

    @property
    def held(self) -> bool:
        """Whether it is silent, because another process may be about to go on with it."""

    @property
    def end_reason(self) -> str:
        """Why it ended; empty while it is live."""

    @property
    def sidebands(self) -> Sidebands:
        """Who else hears what the caller is sent."""

    def hear_sideband(self, text: str, *, from_server: bool) -> None:
        """Take an event of a side band as if the caller had sent it, or its server."""

    async def accepted(self, timeout_s: float) -> None:
        """Return when the backend took the call; raises BackendRefused or BackendAbsent."""

    def restart_ice(self, remote_ufrag: str, remote_password: str) -> tuple[str, str] | None:
        """Our new credentials for the caller's new ones; None when the call failed over it."""


class CallEngine(Protocol):
    """What signaling needs of the engine."""

    @property
    def free_places(self) -> int:
        """How many calls more it takes now."""

    def listen_connected(self, listener: Callable[[str], None]) -> None:
        """Hear of every call whose caller has connected."""

    def listen_ended(self, listener: Callable[[str], None]) -> None:
        """Hear of every call that is no longer live."""

    def check_room(self) -> None:
        """Whether a call can be taken now. Raises TooManyCalls or Draining."""

    def create_call(
        self,
        offer: Offer,
        surface: str,
        session_json: str,
        link: ModelLink,
        placed_by: Principal,
    ) -> CallSession:
        """A new call on that link.

        Raises TooManyCalls, Draining, BackendAbsent, CallLimit, CallFailed.
        """

    def find(self, call_id: str) -> CallSession | None:
        """The live call of that id."""

    def end(self, call_id: str, reason: str) -> bool:
        """End a call; False when there is none."""


@dataclass(frozen=True)
class PlacedCall:
    """A call the backend has taken, and the SDP answer for its caller."""

    session: CallSession
    answer: str = field(repr=False)


@dataclass(frozen=True)
class _NewCall:
    """A call that is asked for, and its ticket."""

    ticket: Ticket
    offer: Offer
    surface: str
    session_json: str = field(repr=False)
    placed_by: Principal


class Intake:
    """Turns offers into calls. `fingerprint` is our certificate's SHA-256 in colon hex."""

    def __init__(
        self,
        engine: CallEngine,
        fingerprint: str,
        relays: Sequence[Address],
        backends: Backends,
        tickets: CallTickets,
        accept_timeout_s: float = ACCEPT_TIMEOUT_S,
        retries: RetryBudget | None = None,
    ) -> None:
        self.engine = engine
        self.relays = tuple(relays)
        self._backends = backends
        self._tickets = tickets
        self.unconnected = Unconnected(engine)
        self._retries = retries or RetryBudget()
        self._turns = LoopTurns()
        self._fingerprint = fingerprint
        self._accept_timeout_s = accept_timeout_s

    async def place(
        self, sdp: str, surface: str, placed_by: Principal, session_json: str = ""
    ) -> PlacedCall:
        """Open a call for an offer. Raises Problem; a call that was not taken is ended."""
        self._check_room()
        with self.unconnected.opening(placed_by) as opened:
            placed = await self._place(sdp, surface, placed_by, session_json)
            opened(placed.session.call_id)
        return placed

    async def _place(
        self, sdp: str, surface: str, placed_by: Principal, session_json: str
    ) -> PlacedCall:
        await self._turns.mine()
        try:
            checked = read_offer(sdp)
        except OfferRefused as refused:
            raise Problem(refused.code, refused.detail) from None
        try:
            with self._tickets.ticket(placed_by.key_id) as ticket:
                call = _NewCall(ticket, checked.offer, surface, session_json, placed_by)
                session = await self._taken(call)
                self._tickets.bind(ticket, session.call_id)
        except LimitReached as reached:
            raise _over_limit(reached) from None
        return PlacedCall(session, self._answer(checked, session))

    def find(self, call_id: str, principal: Principal) -> CallSession:
        """The live call of that id, if it is this principal's to touch.

        Raises Problem no_such_call, which does not tell somebody else's call from none.
        """
        session = self.engine.find(call_id)
        if session is None or not principal.controls(session.placed_by):
            raise no_such_call()
        return session

    def hang_up(self, call_id: str, principal: Principal) -> None:
        """End a call as whoever placed it wishes. Raises Problem no_such_call."""
        self.engine.end(self.find(call_id, principal).call_id, "hangup")

    def _check_room(self) -> None:
        try:
            self.engine.check_room()
        except TooManyCalls:
            raise Problem("too_many_calls", "Try again, or another server.") from None
        except Draining:
            raise Problem("draining", "Try again; another server will answer.") from None

    async def _taken(self, call: _NewCall) -> CallSession:
        """The call once a backend has taken it, at the first try or the second."""
        self._retries.earn()
        choices = self._choices(call)
        try:
            return await self._try(call, choices)
        except Problem as problem:
            if problem.code not in _RETRIED or not self._retries.spend():
                raise
        return await self._try(call, self._choices(call))

    async def _try(self, call: _NewCall, choices: Sequence[Choice]) -> CallSession:
        session = await self._opened(call, choices)
        await self._until_accepted(session)
        return session

    async def _opened(self, call: _NewCall, choices: Sequence[Choice]) -> CallSession:
        with choices[0].backend.awaited():  # the one it gets, unless a limit is reached
            backend = await self._tickets.admit(call.ticket, choices)
        with backend.awaited():
            await self._turns.mine()
            self._check_room()  # again: the ledger took time
            return self._open(call, backend)

    def _choices(self, call: _NewCall) -> Sequence[Choice]:
        try:
            return self._backends.choices(call.session_json)
        except LinkError as error:
            raise _no_backend(error) from None

    def _open(self, call: _NewCall, backend: Backend) -> CallSession:
        try:
            link = self._backends.ask(backend)
            session = self.engine.create_call(
                call.offer, call.surface, call.session_json, link, call.placed_by
            )
        except LinkError as error:
            raise _no_backend(error) from None
        except CallFailed:
            raise Problem("internal", "The operator's log says more.") from None
        self._tickets.opened(call.ticket, session.call_id)
        return session

    async def _until_accepted(self, session: CallSession) -> None:
        reason = "client_closed"  # if this request is cancelled
        try:
            await session.accepted(self._accept_timeout_s)
            await self._turns.mine()  # many may be accepted at once
            if self.engine.find(session.call_id) is None:  # taken, and hung up at once
                raise BackendRefused("hung up")
            reason = ""
        except BackendRefused:
            reason = "refused"
            # Its words are for the operator's log, not for the caller.
            raise Problem("backend_refused", "Try again in a moment.") from None
        except (BackendAbsent, TimeoutError):
            reason = "failed"
            raise Problem("backend_absent", "Try again in a moment.") from None
        finally:
            if reason:
                self.engine.end(session.call_id, reason)

    def _answer(self, checked: CheckedOffer, session: CallSession) -> str:
        identity = LocalIdentity(
            ufrag=session.local_ufrag,
            password=session.local_password,
            fingerprint=self._fingerprint,
            ssrc=session.ssrc,
            cname=session.cname,
            session_id=secrets.randbits(62),
        )
        return write_answer(checked, identity, self.relays)


def _no_backend(error: LinkError) -> Problem:
    if isinstance(error, UnknownBackend):
        return Problem("unknown_backend", "Leave it out, or name one that is there.")
    if isinstance(error, CallLimit):
        return Problem("backend_full", "Try again when a call has ended.")
    return Problem("backend_absent", "Try again in a moment.")


def _over_limit(reached: LimitReached) -> Problem:
    refusal = reached.refusal
    whose = "key" if refusal.subject.startswith("key/") else "model"
    detail = f"The limit is that of the {whose}. Try again after the time in Retry-After."
    return Problem(f"limit_{refusal.reason.value}", detail, retry_after_s=refusal.retry_after_s)


def no_such_call() -> Problem:
    """The problem of an id that is not, or no longer, a live call's."""
    return Problem("no_such_call", "The call has ended, or never was.")
