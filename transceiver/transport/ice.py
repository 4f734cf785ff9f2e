"""The answering half of ICE: a lite agent (RFC 8445 §2.5) for one session.

Theory of operation. A lite agent answers checks that authenticate, learns the caller's addresses
from them and writes to one of these, the selected one:

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

An address that has not answered gets little (`transport.path`). Mostly the DTLS handshake shows
that somebody hears us there. Where it does not (a rebound NAT, an address that changed meanwhile)
each check of the caller is answered by one of ours as well, which a full agent must answer.

A check that does not authenticate is never answered, not even with the 400 or 401 of RFC 8489
§9.1.3: a stranger must not be able to make us write to an address that the stranger chooses.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from transceiver.counters import Counted
from transceiver.takeover.session_state import IceGeneration, IceState, PathState
from transceiver.transport.path import Path
from wire import stun
from wire.errors import WireError
from wire.stun import Attribute, Message, MessageClass, Method

CONSENT_S = 30.0  # RFC 7675 §5.1: consent expires 30 s after the last valid check
# Above Chrome's 2.5 s between checks of a stable pair, below the 4 s (5 s − 20 %, RFC 7675 §5.1)
# that the next consent check may follow after: so one missing check means another path.
SILENCE_S = 3.5
MAX_ADDRESSES = 32
PRIORITY = 110 << 24 | 0xFFFF << 8 | 255  # peer reflexive, component 1 (RFC 8445 §5.1.2)

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

    local_ufrag: str = field(repr=False)
    local_password: str = field(repr=False)
    remote_ufrag: str = field(repr=False)
    remote_password: str = field(default="", repr=False)  # signs our checks; "" sends none


@dataclass(frozen=True)
class AddressLearned:
    """A check from `address` authenticated: what else comes from there is this session's."""

    address: bytes = field(repr=False)


@dataclass(frozen=True)
class AddressForgotten:
    """`address` gave way to a newer one; `MAX_ADDRESSES` are kept."""

    address: bytes = field(repr=False)


@dataclass(frozen=True)
class Selected:
    """From now on packets go to `address`."""

    address: bytes = field(repr=False)


@dataclass(frozen=True)
class GenerationEnded:
    """The credentials under `local_ufrag` are no longer good: a newer pair has been used."""

    local_ufrag: str = field(repr=False)


IceEvent = AddressLearned | AddressForgotten | Selected | GenerationEnded


class Outcome(NamedTuple):
    """What became of a STUN packet: bytes to send back, events in order, why it was not accepted.

    `reason` is empty for a check that counts; otherwise a fixed word for a counter.
    """

    response: bytes | None
    events: tuple[IceEvent, ...] = ()
    reason: str = ""


class IceLite:
    """The lite agent of one session. Addresses are the 18 bytes of `wire.address`.

    `paths` has all that authenticated and are remembered, `path` is the selected one.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._current = credentials
        self._pending: Credentials | None = None
        self._tie_breaker = secrets.token_bytes(8)  # RFC 8445 §7.1.3; nobody's role changes
        self.paths: dict[bytes, Path] = {}
        self.path: Path | None = None
        self._stale_selection = False  # selected before a restart: any check of the new one wins
        self._handshake_path: Path | None = None  # where flights of the handshake went
        self._handshake_strayed = False  # to more than one
        self.last_check_s: float | None = None

    @classmethod
    def resumed(cls, state: IceState, now: float) -> IceLite:
        """The agent that another process exported, `now` being the moment of its export."""
        agent = cls(_credentials(state.current))
        agent._pending = _credentials(state.pending) if state.pending else None
        for was in state.paths:
            path = agent.paths[was.address] = Path(was.address)
            path.priority, path.nominated = was.priority, was.nominated
            path.last_s, path.answered = now - was.silent_s, was.answered
        agent._stale_selection = state.stale_selection
        agent.path = agent.paths.get(state.selected) if state.selected else None
        agent.last_check_s = None if state.checked_ago_s is None else now - state.checked_ago_s
        return agent

    def export(self, now: float, relay_of: Callable[[bytes], bytes]) -> IceState:
        """The agent as a value; `relay_of` names the relay that hears an address."""
        paths = (
            PathState(
                address,
                relay_of(address),
                path.priority,
                path.nominated,
                now - path.last_s,
                path.answered,
            )
            for address, path in self.paths.items()
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
        return tuple(self.paths)

    @property
    def selected(self) -> bytes | None:
        """The address that packets go to."""
        return None if self.path is None else self.path.address

    @property
    def local_ufrags(self) -> tuple[str, ...]:
        """The ufrags that checks may name now: one, or two while a restart is under way."""
        pending = self._pending
        current = self._current.local_ufrag
        return (current,) if pending is None else (current, pending.local_ufrag)

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
        self.paths.pop(address, None)
        if self.selected == address:
            self.path = max(self.paths.values(), key=lambda path: path.last_s, default=None)

    def flight_sent(self) -> None:
        """A flight of the DTLS handshake went to the selected address."""
        if self._handshake_path is None:
            self._handshake_path = self.path
        self._handshake_strayed |= self._handshake_path is not self.path

    def handshake_done(self) -> None:
        """The peer has read our flights; so somebody hears us where all of them went."""
        if self._handshake_path is not None and not self._handshake_strayed:
            self._handshake_path.answered = True
        self._handshake_path = None

    def check(self) -> bytes | None:
        """A check of ours to the selected address; None when it has answered already."""
        path, credentials = self.path, self._current
        if path is None or path.answered or not credentials.remote_password:
            return None
        return stun.write(
            Method.BINDING,
            MessageClass.REQUEST,
            path.transaction_id,
            [
                (
                    Attribute.USERNAME,
                    f"{credentials.remote_ufrag}:{credentials.local_ufrag}".encode(),
                ),
                (Attribute.PRIORITY, PRIORITY.to_bytes(4)),
                (Attribute.ICE_CONTROLLED, self._tie_breaker),
            ],
            credentials.remote_password,
        )

    def handle(self, message: Message, packet: bytes, address: bytes, now: float) -> Outcome:
        """Answer one STUN message that came from the caller's `address`; never raises.

        `packet` must be the bytes `message` was read from.
        """
        # Also where GOOG-PING (method 0x080) ends: it was never negotiated.
        if message.method != Method.BINDING:
            return Outcome(None, reason=Counted.ICE_METHOD)
        path = self.paths.get(address)
        if path is not None:
            path.came(len(packet))
        if message.message_class != MessageClass.REQUEST:
            return self._read_response(message, path)
        try:
            credentials = self._authenticate(message, packet)
        except WireError as error:
            return Outcome(None, reason=error.reason)
        refusal = _refusal(message, credentials.local_password)
        if refusal is not None:
            fits = path is None or path.takes(len(refusal.response or b""))
            return refusal if fits else Outcome(None, reason=refusal.reason)
        if path is None:
            path = Path(address)
            path.came(len(packet))
        events = self._adopt(credentials) + self._learn(message, path, now)
        response = _success(message, address, credentials.local_password)
        return Outcome(response if path.takes(len(response)) else None, events)

    def _read_response(self, message: Message, path: Path | None) -> Outcome:
        # An error is an answer too: its sender has read the transaction id.
        if message.message_class == MessageClass.INDICATION or path is None:
            return Outcome(None, reason=Counted.ICE_NOT_REQUEST)
        if message.transaction_id != path.transaction_id:
            return Outcome(None, reason=Counted.ICE_UNASKED_RESPONSE)
        path.answered = True
        return Outcome(None)

    def _authenticate(self, message: Message, packet: bytes) -> Credentials:
        receiver, sender = stun.username(message)
        credentials = self._current
        if self._pending is not None and receiver == self._pending.local_ufrag:
            credentials = self._pending
        if receiver != credentials.local_ufrag:
            raise WireError(Counted.ICE_LOCAL_UFRAG)
        if not stun.has_integrity(message, packet, credentials.local_password):
            raise WireError(Counted.ICE_INTEGRITY)
        if sender != credentials.remote_ufrag:
            raise WireError(Counted.ICE_REMOTE_UFRAG)
        return credentials

    def _adopt(self, credentials: Credentials) -> tuple[IceEvent, ...]:
        if credentials is self._current:
            return ()
        ended = GenerationEnded(self._current.local_ufrag)
        self._current, self._pending = credentials, None
        self._stale_selection = True
        return (ended,)

    def _learn(self, message: Message, path: Path, now: float) -> tuple[IceEvent, ...]:
        self.last_check_s = now
        events: list[IceEvent] = []
        if path.address not in self.paths:
            events = self._make_room()
            self.paths[path.address] = path
            events.append(AddressLearned(path.address))
        path.priority = int.from_bytes(message.find(Attribute.PRIORITY) or b"")
        nominates = message.find(Attribute.USE_CANDIDATE) is not None
        path.nominated = path.nominated or nominates
        path.last_s = now
        if path is not self.path and self._takes_over(path, nominates, now):
            self.path = path
            events.append(Selected(path.address))
        if path is self.path:
            self._stale_selection = False
        return tuple(events)

    def _make_room(self) -> list[IceEvent]:
        if len(self.paths) < MAX_ADDRESSES:
            return []
        others = (address for address in self.paths if address != self.selected)
        oldest = min(others, key=lambda address: self.paths[address].last_s)
        del self.paths[oldest]
        return [AddressForgotten(oldest)]

    def _takes_over(self, challenger: Path, nominates: bool, now: float) -> bool:
        holder = self.path
        if holder is None or self._stale_selection:
            return True
        # The flag of this check counts, not of earlier ones: a full agent marks the pair it uses
        # now. The holder keeps its mark, as some agents send the flag once only.
        rank = (nominates, challenger.priority)
        return rank >= (holder.nominated, holder.priority) or now - holder.last_s >= SILENCE_S


def _generation(credentials: Credentials) -> IceGeneration:
    return IceGeneration(
        credentials.local_ufrag,
        credentials.local_password,
        credentials.remote_ufrag,
        credentials.remote_password,
    )


def _credentials(generation: IceGeneration) -> Credentials:
    return Credentials(
        generation.local_ufrag,
        generation.local_password,
        generation.remote_ufrag,
        generation.remote_password,
    )


def _refusal(message: Message, password: str) -> Outcome | None:
    unknown = [kind for kind, _ in message.attributes if kind < 0x8000 and kind not in _UNDERSTOOD]
    if unknown:  # RFC 8489 §6.3.1
        listed = b"".join(kind.to_bytes(2) for kind in unknown)
        attributes = [(int(Attribute.UNKNOWN_ATTRIBUTES), listed)]
        response = _error(message, 420, "Unknown Attribute", password, attributes)
        return Outcome(response, reason=Counted.ICE_UNKNOWN_ATTRIBUTE)
    # RFC 8445 §7.3.1.1, without the tie-breaker: a lite agent cannot become the controlling one.
    if message.find(Attribute.ICE_CONTROLLED) is not None:
        response = _error(message, 487, "Role Conflict", password)
        return Outcome(response, reason=Counted.ICE_ROLE_CONFLICT)
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
