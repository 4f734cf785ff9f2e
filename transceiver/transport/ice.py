"""The answering half of ICE: a lite agent (RFC 8445 §2.5) for one session.

Theory of operation. A lite agent never sends a check. It answers those that authenticate, learns
the caller's addresses from them and writes to one of these, the selected one:

    check with USE-CANDIDATE from a better or equal candidate      → selected at once
    the same from a worse one, or a check without the flag         → only after `SILENCE_S` without
                                                                     a check from the selected one

Equal must win: after a NAT rebinding the same candidate, so the same PRIORITY, comes from a new
address. The first valid check is selected for want of a better one, because DTLS may start before
nomination. Consent (RFC 7675) is the caller's to ask for; the answering side stops sending when
nothing valid has come for `CONSENT_S`.

A restart (RFC 8445 §9) puts a second pair of credentials beside the first. Both are good until a
check arrives with the new one, which then is the only one; media stays on the old selected
address until a check of the new generation.

What does not authenticate is never answered, not even with the 400 or 401 of RFC 8489 §9.1.3: a
stranger must not be able to make us write to an address of his choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from transceiver.takeover.session_state import IceGeneration, IceState, PathState
from wire import stun
from wire.errors import WireError
from wire.stun import Attribute, Message, MessageClass, Method

CONSENT_S = 30.0  # RFC 7675 §5.1: consent expires 30 s after the last valid check
# Above Chrome's 2.5 s between checks of a stable pair, below the 4 s (5 s − 20 %, RFC 7675 §5.1)
# that the next consent check may follow after: so one missing check means another path.
SILENCE_S = 3.5
MAX_ADDRESSES = 32

# Comprehension-required types (RFC 8489 §14: below 0x8000) that a Binding request may carry here.
_UNDERSTOOD = frozenset(
    {
        Attribute.MAPPED_ADDRESS,
        Attribute.USERNAME,
        Attribute.MESSAGE_INTEGRITY,
        Attribute.PRIORITY,
        Attribute.USE_CANDIDATE,
        Attribute.XOR_MAPPED_ADDRESS,
    }
)


@dataclass(frozen=True)
class Credentials:
    """One generation of ICE: both ufrags, and the password that signs what comes to us."""

    local_ufrag: str
    local_password: str = field(repr=False)
    remote_ufrag: str = field(repr=False)


@dataclass(frozen=True)
class AddressLearned:
    """A check from `address` authenticated: what else comes from there is this session's."""

    address: bytes


@dataclass(frozen=True)
class AddressForgotten:
    """`address` gave way to a newer one; `MAX_ADDRESSES` are kept."""

    address: bytes


@dataclass(frozen=True)
class Selected:
    """From now on packets go to `address`."""

    address: bytes


@dataclass(frozen=True)
class GenerationEnded:
    """The credentials under `local_ufrag` are no longer good: a newer pair has been used."""

    local_ufrag: str


IceEvent = AddressLearned | AddressForgotten | Selected | GenerationEnded


class Outcome(NamedTuple):
    """What became of a STUN packet: bytes to send back, events in order, why it was not accepted.

    `reason` is empty for a check that counts; otherwise a fixed word for a counter.
    """

    response: bytes | None
    events: tuple[IceEvent, ...] = ()
    reason: str = ""


class _Seen:
    """An address of the caller: the PRIORITY of its last check, and when that came."""

    __slots__ = ("last_s", "nominated", "priority")

    def __init__(self) -> None:
        self.priority = 0
        self.nominated = False
        self.last_s = 0.0


class IceLite:
    """The lite agent of one session. Addresses are the 18 bytes of `wire.address`."""

    def __init__(self, credentials: Credentials) -> None:
        self._current = credentials
        self._pending: Credentials | None = None
        self._seen: dict[bytes, _Seen] = {}
        self._stale_selection = False  # selected before a restart: any check of the new one wins
        self.selected: bytes | None = None
        self.last_check_s: float | None = None

    @classmethod
    def resumed(cls, state: IceState, now: float) -> IceLite:
        """The agent that another process exported, `now` being the moment of its export."""
        agent = cls(_credentials(state.current))
        agent._pending = _credentials(state.pending) if state.pending else None
        for path in state.paths:
            seen = agent._seen[path.address] = _Seen()
            seen.priority, seen.nominated = path.priority, path.nominated
            seen.last_s = now - path.silent_s
        agent._stale_selection = state.stale_selection
        agent.selected = state.selected
        agent.last_check_s = None if state.checked_ago_s is None else now - state.checked_ago_s
        return agent

    def export(self, now: float, relay_of: Callable[[bytes], bytes]) -> IceState:
        """The agent as a value; `relay_of` names the relay that hears an address."""
        paths = (
            PathState(address, relay_of(address), seen.priority, seen.nominated, now - seen.last_s)
            for address, seen in self._seen.items()
        )
        return IceState(
            current=_generation(self._current),
            pending=_generation(self._pending) if self._pending else None,
            paths=tuple(paths),
            selected=self.selected,
            stale_selection=self._stale_selection,
            checked_ago_s=None if self.last_check_s is None else now - self.last_check_s,
        )

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """All addresses that authenticated and are remembered."""
        return tuple(self._seen)

    @property
    def local_ufrags(self) -> tuple[str, ...]:
        """The ufrags that checks may name now: one, or two while a restart is under way."""
        pending = self._pending
        current = self._current.local_ufrag
        return (current,) if pending is None else (current, pending.local_ufrag)

    def knows(self, address: bytes) -> bool:
        """Whether a check from `address` has authenticated."""
        return address in self._seen

    def restart(self, credentials: Credentials) -> GenerationEnded | None:
        """Accept one more pair of credentials; it replaces a restart that was never used."""
        replaced, self._pending = self._pending, credentials
        return GenerationEnded(replaced.local_ufrag) if replaced else None

    def expiry_s(self) -> float | None:
        """When consent ends unless a check comes before; None until the first check."""
        return None if self.last_check_s is None else self.last_check_s + CONSENT_S

    def expired(self, now: float) -> bool:
        """Whether nothing valid has come for `CONSENT_S`."""
        expiry_s = self.expiry_s()
        return expiry_s is not None and now >= expiry_s

    def forget(self, address: bytes) -> None:
        """Another session proved to own `address` now (a port reused behind a NAT)."""
        self._seen.pop(address, None)
        if self.selected == address:
            newest = max(self._seen, key=lambda known: self._seen[known].last_s, default=None)
            self.selected = newest

    def handle(self, message: Message, packet: bytes, address: bytes, now: float) -> Outcome:
        """Answer one STUN message that came from the caller's `address`; never raises.

        `packet` must be the bytes `message` was read from.
        """
        # Also where GOOG-PING (method 0x080) ends: it was never negotiated.
        if message.method != Method.BINDING:
            return Outcome(None, reason="ice_method")
        if message.message_class != MessageClass.REQUEST:
            return Outcome(None, reason="ice_not_request")
        try:
            credentials = self._authenticate(message, packet)
        except WireError as error:
            return Outcome(None, reason=error.reason)
        refusal = _refusal(message, credentials.local_password)
        if refusal is not None:
            return refusal
        events = self._adopt(credentials) + self._learn(message, address, now)
        return Outcome(_success(message, address, credentials.local_password), events)

    def _authenticate(self, message: Message, packet: bytes) -> Credentials:
        receiver, sender = stun.username(message)
        credentials = self._current
        if self._pending is not None and receiver == self._pending.local_ufrag:
            credentials = self._pending
        if receiver != credentials.local_ufrag:
            raise WireError("ice_local_ufrag")
        if not stun.has_integrity(message, packet, credentials.local_password):
            raise WireError("ice_integrity")
        if sender != credentials.remote_ufrag:
            raise WireError("ice_remote_ufrag")
        return credentials

    def _adopt(self, credentials: Credentials) -> tuple[IceEvent, ...]:
        if credentials is self._current:
            return ()
        ended = GenerationEnded(self._current.local_ufrag)
        self._current, self._pending = credentials, None
        self._stale_selection = True
        return (ended,)

    def _learn(self, message: Message, address: bytes, now: float) -> tuple[IceEvent, ...]:
        self.last_check_s = now
        events: list[IceEvent] = []
        seen = self._seen.get(address)
        if seen is None:
            events = self._make_room()
            seen = self._seen[address] = _Seen()
            events.append(AddressLearned(address))
        seen.priority = int.from_bytes(message.find(Attribute.PRIORITY) or b"")
        nominates = message.find(Attribute.USE_CANDIDATE) is not None
        seen.nominated = seen.nominated or nominates
        seen.last_s = now
        if address != self.selected and self._takes_over(seen, nominates, now):
            self.selected = address
            events.append(Selected(address))
        if address == self.selected:
            self._stale_selection = False
        return tuple(events)

    def _make_room(self) -> list[IceEvent]:
        if len(self._seen) < MAX_ADDRESSES:
            return []
        others = (address for address in self._seen if address != self.selected)
        oldest = min(others, key=lambda address: self._seen[address].last_s)
        del self._seen[oldest]
        return [AddressForgotten(oldest)]

    def _takes_over(self, challenger: _Seen, nominates: bool, now: float) -> bool:
        holder = self._seen.get(self.selected) if self.selected is not None else None
        if holder is None or self._stale_selection:
            return True
        # The flag of this check counts, not of earlier ones: a full agent marks the pair it uses
        # now. The holder keeps its mark, as some agents send the flag once only.
        rank = (nominates, challenger.priority)
        return rank >= (holder.nominated, holder.priority) or now - holder.last_s >= SILENCE_S


def _generation(credentials: Credentials) -> IceGeneration:
    return IceGeneration(
        credentials.local_ufrag, credentials.local_password, credentials.remote_ufrag
    )


def _credentials(generation: IceGeneration) -> Credentials:
    return Credentials(generation.local_ufrag, generation.local_password, generation.remote_ufrag)


def _refusal(message: Message, password: str) -> Outcome | None:
    unknown = [kind for kind, _ in message.attributes if kind < 0x8000 and kind not in _UNDERSTOOD]
    if unknown:  # RFC 8489 §6.3.1
        listed = b"".join(kind.to_bytes(2) for kind in unknown)
        attributes = [(int(Attribute.UNKNOWN_ATTRIBUTES), listed)]
        response = _error(message, 420, "Unknown Attribute", password, attributes)
        return Outcome(response, reason="ice_unknown_attribute")
    # RFC 8445 §7.3.1.1, without the tie-breaker: a lite agent cannot become the controlling one.
    if message.find(Attribute.ICE_CONTROLLED) is not None:
        response = _error(message, 487, "Role Conflict", password)
        return Outcome(response, reason="ice_role_conflict")
    return None


def _success(message: Message, address: bytes, password: str) -> bytes:
    mapped = stun.xor_address(address, message.transaction_id)
    return stun.write(
        Method.BINDING,
        MessageClass.SUCCESS,
        message.transaction_id,
        [(Attribute.XOR_MAPPED_ADDRESS, mapped)],
        password,
    )


def _error(
    message: Message,
    code: int,
    phrase: str,
    password: str,
    attributes: list[tuple[int, bytes]] | None = None,
) -> bytes:
    all_attributes = [(int(Attribute.ERROR_CODE), stun.error_code(code, phrase))]
    all_attributes += attributes or []
    return stun.write(
        Method.BINDING, MessageClass.ERROR, message.transaction_id, all_attributes, password
    )
