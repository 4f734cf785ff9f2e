"""Calls that are between two owners, as the engine of either has them.

    held       still this engine's, and silent: another may be about to go on with it
    prepared   another's, and resumed here, silent: this engine goes live when it is told to
    gone       another's for good: what still arrives is passed on (`takeover.tombstones`)

None of them has a route, so the path of every packet knows nothing of this: what comes for them is
what would be unknown otherwise. It waits for whoever goes on, here or there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from transceiver.call.session import Session
from transceiver.counters import Counted
from transceiver.engine.claiming import Claiming
from transceiver.engine.trunk_port import TrunkPort
from transceiver.link.model_link import ModelLink
from transceiver.link.position import Position
from transceiver.takeover.call_claims import claims_of, workers_of
from transceiver.takeover.held_frames import HeldFrame, HeldFrames
from transceiver.takeover.session_state import STOPPED_BEFORE, LinkState, Reserve, SessionState
from transceiver.takeover.tombstones import Tombstones
from wire.claim import NOBODY, sender

if TYPE_CHECKING:
    from transceiver.engine.engine import Engine

Key = TypeVar("Key", str, bytes)

MAX_FORWARDERS = 4096  # owners that have passed calls on to here


@dataclass(eq=False)
class Waiting:
    """A call that is held or prepared: its session, and what came for it."""

    session: Session
    state: SessionState
    frames: HeldFrames = field(default_factory=HeldFrames)
    link: ModelLink | None = None  # of a prepared call
    reserve: Reserve = STOPPED_BEFORE
    fenced: int = NOBODY


@dataclass(frozen=True)
class NewOwner:
    """Where a call goes: its sender number, and its trunk port (18 bytes)."""

    sender: int
    trunk: bytes


class Between:
    """All of them. Bounded by the calls that the engine takes, and by MAX_TOMBSTONES."""

    def __init__(self, engine: Engine, port: TrunkPort, claiming: Claiming) -> None:
        self._engine = engine
        self._port = port
        self._claiming = claiming
        self._held: dict[str, Waiting] = {}
        self._prepared: dict[str, Waiting] = {}
        self._by_ufrag: dict[str, Waiting] = {}
        self._by_address: dict[bytes, Waiting] = {}
        self._tombstones = Tombstones()

    @property
    def owner(self) -> int:
        """This engine as relays know it."""
        route = self._engine.route
        return sender(route.node, route.epoch)

    @property
    def prepared(self) -> int:
        """Calls that may go live here."""
        return len(self._prepared)

    @property
    def held(self) -> int:
        """Calls that may go on elsewhere."""
        return len(self._held)

    @property
    def gone(self) -> int:
        """Calls that went on elsewhere a while ago."""
        return len(self._tombstones)

    # The old owner.

    def hold(self, session: Session) -> SessionState | None:
        """The call as a value; it says nothing any more until `release`. None: it cannot move."""
        if not session.movable or session.held:
            return None
        with self._engine.guarded(session):
            session.hold()
            state = session.export(time.time(), self._engine.routes.relay_of)
            waiting = Waiting(session, state)
            for address, packet in self._engine.silence(session):
                waiting.frames.add(HeldFrame(b"", address, packet))
            self._wait(self._held, waiting)
            return state
        return None

    def release(self, session: Session) -> bool:
        """Go on with a held call here; False when it is not held."""
        waiting = self._held.get(session.call_id)
        if waiting is None or waiting.session is not session:
            return False
        self._stop_waiting(self._held, session.call_id)
        self._route(waiting)
        with self._engine.guarded(session):
            session.release()
        self._take_in(waiting.frames)
        return True

    def hand_off(self, session: Session, to: NewOwner | None) -> None:
        """Another owner goes on with a held call: it is over here, and what comes is passed on."""
        waiting = self._stop_waiting(self._held, session.call_id)
        with self._engine.guarded(session):
            session.leave()
        if to is not None:
            claims = claims_of(waiting.state, to.sender)
            self._tombstones.add(session.call_id, to.trunk, claims, self._engine.now())
            for frame in waiting.frames:
                self.take(frame.relay, frame.address, frame.packet)

    # The new owner.

    def prepare(
        self,
        state: SessionState,
        link: ModelLink,
        reserve: Reserve = STOPPED_BEFORE,
        *,
        fenced: int = NOBODY,
        comes_back: bool = False,
    ) -> None:
        """Resume a call of another process and keep it silent, until `go_live` or `forget`.

        `fenced` is the sender number of an owner that was lost. A call that `comes_back` has its
        place here still, even if this process takes no others. Raises TooManyCalls, Draining, and
        ValueError for a call that is here already or cannot be resumed by this version.
        """
        engine = self._engine
        if not comes_back:
            engine.check_room()
        if engine.find(state.call_id) is not None or state.call_id in self._prepared:
            raise ValueError("the call is here already")
        session = Session.resumed(state, engine.certificate, engine, time.time(), reserve)
        self._tombstones.forget(state.call_id)
        waiting = Waiting(session, state, HeldFrames(), link, reserve, fenced)
        self._wait(self._prepared, waiting)

    def forget(self, call_id: str) -> bool:
        """A prepared call goes live elsewhere, or nowhere; False when none has that id."""
        if call_id not in self._prepared:
            return False
        self._stop_waiting(self._prepared, call_id)
        self._claiming.forget(call_id)
        return True

    def forget_lost(self) -> None:
        """Let go of calls of lost owners: this process was lost itself."""
        for call_id, waiting in list(self._prepared.items()):
            if waiting.fenced != NOBODY:
                self.forget(call_id)

    def go_live(self, call_id: str) -> Session:
        """Go on with a prepared call.

        Raises KeyError when none has that id, and BackendAbsent, CallLimit or ValueError when it
        cannot begin: then nothing is left of it, and nothing was sent.
        """
        waiting = self._stop_waiting(self._prepared, call_id)
        session, state, link = waiting.session, waiting.state, waiting.link
        if link is None:
            raise KeyError(call_id)
        self._engine.begin(session)
        try:
            self._route(waiting)
            resume, exact = _position(state.link), waiting.fenced == NOBODY
            session.open(link, state.link.session_json, resume, exact=exact)
            session.carry_on(state, time.time(), waiting.reserve)
        except BaseException:
            with self._engine.guarded(session):
                session.leave()
            raise
        self.claim(waiting)
        self._engine.adopted(session)
        self._take_in(waiting.frames)
        return session

    def go_live_when_claimed(
        self,
        call_id: str,
        failed: Callable[[Exception], None],
        live: Callable[[Session], object] = lambda _: None,
    ) -> None:
        """Go on with a prepared call once its relay workers know whose it is, or do not answer.

        For a call whose owner was lost: what that owner may still say is not to mix with what we
        say. `failed` hears what `go_live` raises, `live` of the session. Raises KeyError when no
        such call is prepared.
        """

        def go() -> None:
            try:
                live(self.go_live(call_id))
            except Exception as error:
                failed(error)

        self.claim(self._prepared[call_id])
        self._claiming.when_claimed(call_id, go)

    def claim(self, waiting: Waiting) -> None:
        """Tell relay workers whose the call is."""
        state = waiting.state
        claims = claims_of(state, self.owner, waiting.fenced)
        self._claiming.claim(state.call_id, claims, workers_of(state.ice))

    def passes_on(self, owner: int) -> None:
        """That owner may pass on what still arrives there: no relay worker is behind it."""
        forwarders = self._port.forwarders
        if owner not in forwarders and len(forwarders) >= MAX_FORWARDERS:
            forwarders.popitem(last=False)
        forwarders[owner] = None

    # Packets for which there is no route.

    def take(self, relay: bytes, address: bytes, packet: bytes) -> bool:
        """A packet from an address of such a call; False when it is nobody's."""
        waiting = self._by_address.get(address)
        if waiting is not None:
            self._keep(waiting, HeldFrame(relay, address, packet))
            return True
        stone = self._tombstones.by_address.get(address)
        if stone is None:
            return False
        if relay and stone.redirects(relay, self._engine.now()):
            self._claiming.redirect(relay, stone.claims)
        if relay:  # what an owner before passed on goes no further than this
            self._engine.count(Counted.MOVE_PASSED_ON)
        self._engine.send(stone.trunk, address, packet)
        return True

    def take_check(self, ufrag: str, relay: bytes, address: bytes, packet: bytes) -> bool:
        """A STUN request that names a ufrag of such a call; False when it is nobody's."""
        waiting = self._by_ufrag.get(ufrag)
        if waiting is not None:
            self._keep(waiting, HeldFrame(relay, address, packet))
            return True
        stone = self._tombstones.by_ufrag.get(ufrag)
        if stone is None:
            return False
        if relay and stone.redirects(relay, self._engine.now()):
            self._claiming.redirect(relay, stone.claims)
        if address in self._tombstones.by_address:  # the new owner knows its relay worker
            self._engine.send(stone.trunk, address, packet)
        return True

    def drop(self, session: Session) -> None:
        """The call is over."""
        for calls in (self._held, self._prepared):
            waiting = calls.get(session.call_id)
            if waiting is not None and waiting.session is session:
                self._stop_waiting(calls, session.call_id)

    def _keep(self, waiting: Waiting, frame: HeldFrame) -> None:
        if not waiting.frames.add(frame):
            self._engine.count(Counted.MOVE_WAITING_FULL)

    def _wait(self, calls: dict[str, Waiting], waiting: Waiting) -> None:
        calls[waiting.session.call_id] = waiting
        self._by_ufrag.update(dict.fromkeys(waiting.session.ufrags, waiting))
        self._by_address.update(dict.fromkeys(waiting.session.addresses, waiting))

    def _stop_waiting(self, calls: dict[str, Waiting], call_id: str) -> Waiting:
        waiting = calls.pop(call_id)
        _remove(self._by_ufrag, waiting.session.ufrags, waiting)
        _remove(self._by_address, waiting.session.addresses, waiting)
        return waiting

    def _route(self, waiting: Waiting) -> None:
        """Let packets reach the session again."""
        for path in waiting.state.ice.paths:
            self._engine.learn(waiting.session, path.address, path.relay)
        for ufrag in waiting.session.ufrags:
            self._engine.answers_to(waiting.session, ufrag)

    def _take_in(self, frames: Iterable[HeldFrame]) -> None:
        for frame in frames:
            self._engine.take_in(frame.relay, frame.address, frame.packet)


def _position(link: LinkState) -> Position:
    """Where the backend is to go on; one that holds no calls is given the conversation instead."""
    return Position(link.token, link.taken_events, link.sent_events, link.clears, link.instance)


def _remove(table: dict[Key, Waiting], keys: Iterable[Key], waiting: Waiting) -> None:
    for key in keys:
        if table.get(key) is waiting:
            del table[key]
