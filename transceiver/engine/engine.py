"""All calls of one transceiver process on one event loop: trunk datagrams in, batches out.

    TrunkPort ─▶ frames ─▶ STUN:  by ufrag ──┐
                        └▶ other: by address ┴─▶ Session
    TrunkPort ◀─ what one wake-up produced ◀───────┘   ▲
                             Wheel: one loop timer for every deadline

No packet costs a task, a future or a timer. A wake-up (readable socket, wheel, a batch of the
model link) lets the sessions put packets into the trunk port, which sends them once at its end.

What raises in a call is the end of that call (`fail`): every way into a session stands under one
of the guards here, or hands what it caught to `fail`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from fleet.calls.owner import Owner
from transceiver.call.call_id import new_call_id
from transceiver.call.offer import Offer
from transceiver.call.principal import NOBODY, Principal
from transceiver.call.record import NO_RECORD, CallRecord
from transceiver.call.session import Session
from transceiver.call.snapshot import CallSnapshot
from transceiver.call.states import State
from transceiver.counters import Counted, call_ended
from transceiver.engine.alarm import Alarm
from transceiver.engine.between import Between
from transceiver.engine.call_news import CallNews
from transceiver.engine.claiming import Claiming
from transceiver.engine.handshakes import (
    MAX_DATAGRAMS_PER_TURN,
    MAX_WAITING_OF_CONNECTED,
    MAX_WAITING_PER_CALL,
    HandshakeQueue,
)
from transceiver.engine.refusals import CallFailed, Draining, TooManyCalls
from transceiver.engine.routes import Path, Routes
from transceiver.engine.trunk_port import Frames, TrunkPort
from transceiver.faults import Guard
from transceiver.link.errors import LinkError
from transceiver.link.model_link import ModelLink
from transceiver.takeover.session_state import STOPPED_BEFORE, Reserve, SessionState
from transceiver.transport.certificate import LocalCertificate
from trunkline.process.address import Address
from wire import stun, token, trunk
from wire.errors import WireError
from wire.keys import KeyRing
from wire.token import Route

MAX_CALLS = 1000
MAX_STUN_BYTE = 3  # RFC 7983 §7: first bytes 0–3 are STUN
_RESPONSES = frozenset({stun.MessageClass.SUCCESS, stun.MessageClass.ERROR})  # without USERNAME
MIN_MEDIA_BYTE = 128  # and from here on RTP and RTCP; DTLS is between
RTCP_BYTES = range(192, 224)  # RFC 5761 §4: RTCP's second byte

log = structlog.get_logger(__name__)


class Engine(CallNews):
    """The calls of this process. `route` is what their ufrags say; it may change (a new lease).

    `process` is its number in a pod of several; call ids name it. `max_calls` may change too; live
    calls beyond it go on. `begun` counts all calls there ever were; `counters` has what was dropped
    and why, by fixed words, and totals of ended calls.
    """

    def __init__(
        self,
        token_keys: KeyRing,
        trunk_keys: KeyRing,
        route: Route,
        certificate: LocalCertificate,
        max_calls: int = MAX_CALLS,
        mtu: int = trunk.DEFAULT_MTU,
        process: int = 0,
    ) -> None:
        super().__init__()
        self.route = route
        self.draining = False
        self.begun = 0
        self.counters: Counter[str] = Counter()
        self.record_of: Callable[[Session], CallRecord] = lambda _session: NO_RECORD
        self._token_keys = token_keys
        self._trunk = TrunkPort(trunk_keys, mtu, self.counters, self._packet_failed)
        self.certificate = certificate
        self.max_calls = max_calls
        # Looks for another backend for a call that lost its own; False: nobody is to be asked.
        self.on_backend_lost: Callable[[Session], bool] = _give_up
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._calls: dict[str, Session] = {}
        self.routes = Routes()
        self._ufrags, self._paths = self.routes.ufrags, self.routes.paths
        self._source = b""  # of the trunk datagram being read
        self._flush_is_due = False  # at the end of this wake-up, or scheduled
        self._handshakes: HandshakeQueue[Session] = HandshakeQueue()
        self._handshakes_are_due = False
        self._alarm: Alarm[Session] = Alarm(self._loop, self._on_due)
        self._claiming = Claiming(self._loop, self._trunk, self)
        self.between = Between(self, self._trunk, self._claiming)
        self._idle = asyncio.Event()
        self._idle.set()

    # The process: start, drain, close.

    async def start(self, trunk_address: Address) -> Address:
        """Bind the trunk socket; where it is bound. Raises AddressInUse, AddressUnusable."""
        socket = self._trunk.open(trunk_address)
        self._loop.add_reader(socket.fileno(), self._on_readable)
        return socket.address

    def rotate(self, token_keys: KeyRing | None, trunk_keys: KeyRing | None) -> None:
        """Other keys from the next packet on; None leaves a ring as it is.

        Live calls keep their ufrags and passwords, which were derived when they began.
        """
        self._token_keys = token_keys or self._token_keys
        if trunk_keys is not None:
            self._trunk.rotate(trunk_keys)

    @property
    def owner(self) -> Owner:
        """Who has these calls: this process, by the lease of now."""
        return Owner(self.route.node, self.route.epoch)

    @property
    def key_rings(self) -> tuple[KeyRing, KeyRing]:
        """The rings of route tokens and of the trunk, as they are now."""
        return self._token_keys, self._trunk.keys

    async def idle(self) -> None:
        """Return when no call is live."""
        await self._idle.wait()

    async def close(self, reason: str = "drained") -> None:
        """End all calls, send their goodbyes, let the port go."""
        self.draining = True
        for session in self.calls():
            self._end(session, reason)
        self._flush()
        await asyncio.sleep(0)  # what the SCTP library has scheduled finds nothing to do
        self._alarm.stop()
        self._claiming.stop()
        if self._trunk.socket is not None:
            self._loop.remove_reader(self._trunk.socket.fileno())
            self._trunk.close()

    # Calls.

    def create_call(
        self,
        offer: Offer,
        surface: str,
        session_json: str,
        link: ModelLink,
        placed_by: Principal = NOBODY,
    ) -> Session:
        """A new call to the backend of `link`, whose call it will be.

        Raises TooManyCalls, Draining, BackendAbsent, CallLimit, CallFailed.
        """
        self.check_room()
        call_id = new_call_id(self._process, self.route.node)
        session = Session(call_id, offer, surface, self.certificate, self, time.time())
        session.placed_by = placed_by
        self.begin(session)
        try:
            session.open(link, session_json)
        except LinkError:
            self._end(session, "refused")
            raise
        except Exception as error:
            self.fail(session, error)
            raise CallFailed("the call failed while it was made") from None
        log.info("call_created", call_id=call_id, surface=surface)
        return session

    def hand_over(self, call_id: str) -> SessionState | None:
        """A connected call as a value, for another process; here nothing of it is left.

        None when no connected call has that id, or it failed. The caller is told nothing and misses
        nothing but what comes before another process adopts the call.
        """
        session = self._calls.get(call_id)
        state = None if session is None else self.between.hold(session)
        if session is not None and state is not None:
            self.between.hand_off(session, None)
        return state

    def checkpoint(self, call_id: str) -> SessionState | None:
        """A connected call as a value, while it goes on here; None for one that may go elsewhere.

        Who adopts it must reserve numbers for what is sent after this moment.
        """
        session = self._calls.get(call_id)
        if session is None or session.held or session.state is not State.CONNECTED:
            return None
        with self.guarded(session):
            return session.export(time.time(), self.routes.relay_of)
        return None

    def kept(self, call_id: str, taken_events: int) -> None:
        """A checkpoint of the call knows of its backend's events up to there."""
        session = self._calls.get(call_id)
        if session is not None and session.handle is not None:
            session.handle.kept(taken_events)

    def adopt(
        self, state: SessionState, link: ModelLink, reserve: Reserve = STOPPED_BEFORE
    ) -> Session:
        """Go on with a call of another process, with the backend of `link`.

        Raises TooManyCalls, Draining, BackendAbsent, CallLimit, and ValueError for a call that is
        here already or cannot be resumed by this version; nothing is left of it then.
        """
        self.between.prepare(state, link, reserve)
        return self.between.go_live(state.call_id)

    def begin(self, session: Session) -> None:
        """A call is live from now on."""
        self._calls[session.call_id] = session
        session.record = self.record_of(session)
        self.begun += 1
        self._idle.clear()
        self._claiming.start()

    def find(self, call_id: str) -> Session | None:
        """The live call of that id."""
        return self._calls.get(call_id)

    def end(self, call_id: str, reason: str) -> bool:
        """End a call; False when no live call has that id."""
        session = self._calls.get(call_id)
        if session is not None:
            self._end(session, reason)
        return session is not None

    def _end(self, session: Session, reason: str) -> None:
        with self.guarded(session):
            session.end(reason)

    def snapshots(self) -> list[CallSnapshot]:
        """Live calls as the operator sees them, oldest first."""
        return [shown for session in self.calls() if (shown := self._snapshot(session))]

    def snapshot(self, call_id: str) -> CallSnapshot | None:
        """One of them; None when no live call has that id."""
        session = self._calls.get(call_id)
        return None if session is None else self._snapshot(session)

    def _snapshot(self, session: Session) -> CallSnapshot | None:
        with self.guarded(session):
            return session.snapshot()
        return None

    def calls(self) -> list[Session]:
        """Live calls, oldest first."""
        return list(self._calls.values())

    def dismiss(self, call_id: str, reason: str) -> bool:
        """End a call after its caller was told why; False when no live call has that id."""
        session = self._calls.get(call_id)
        if session is not None:
            with self.guarded(session):
                session.dismiss(reason)
        return session is not None

    @property
    def free_places(self) -> int:
        """How many calls more this process takes now."""
        return self.max_calls - len(self._calls) - self.between.prepared

    def check_room(self) -> None:
        """Whether a call can be taken now. Raises TooManyCalls or Draining."""
        if self.draining:
            raise Draining("the process takes no new calls")
        if self.free_places <= 0:
            raise TooManyCalls(f"{self.max_calls} calls are live")

    def dismiss_all(self, reason: str) -> int:
        """`dismiss` every call; returns how many there were."""
        return sum(self.dismiss(session.call_id, reason) for session in self.calls())

    def leave_all(self) -> int:
        """End every call without a word, because this process was taken for dead; how many."""
        self.between.forget_lost()
        left = self.calls()
        for session in left:
            with self.guarded(session):
                session.leave("fenced")
        return len(left)

    # What sessions ask for: transceiver.call.host.Host.

    def now(self) -> float:
        """The loop's clock."""
        return self._loop.time()

    def transmit(self, address: bytes, packet: bytes) -> None:
        """Put a datagram to a caller into this wake-up's batch."""
        path = self._paths.get(address)
        relay = self._source if path is None else path.relay
        if not relay:
            self.counters[Counted.OUT_NO_PATH] += 1
            return
        self.send(relay, address, packet)

    def send(self, relay: bytes, address: bytes, packet: bytes) -> None:
        """The same by way of that trunk port, which is a relay worker's, or another process's."""
        if self._trunk.put(relay, address, packet) and not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def wake_at(self, session: Session, when_s: float) -> None:
        """Put the session on the wheel."""
        self._alarm.wake_at(session, when_s)

    def mint(self) -> tuple[str, str]:
        """ICE credentials that lead to this process."""
        ufrag = token.mint(self._token_keys, self.route, secrets.token_bytes(4))
        while ufrag in self._ufrags:  # 32 random bits: two of 1,000 calls meet once in 8,600 years
            ufrag = token.mint(self._token_keys, self.route, secrets.token_bytes(4))
        return ufrag, token.password(self._token_keys, ufrag)

    def answers_to(self, session: Session, ufrag: str) -> None:
        """Route STUN by `ufrag`."""
        self._ufrags[ufrag] = session

    def ufrag_ended(self, ufrag: str) -> None:
        """Stop that."""
        self._ufrags.pop(ufrag, None)

    def address_learned(self, session: Session, address: bytes) -> None:
        """Route an address; a valid check takes it from whoever had it."""
        self.learn(session, address, self._source)

    def learn(self, session: Session, address: bytes, relay: bytes) -> None:
        """Route an address by way of a relay worker."""
        before = self.routes.learn(session, address, relay)
        if before is not None:
            with self.guarded(before):
                before.forget_address(address)
            self.count(Counted.ADDRESS_TAKEN_OVER)

    def address_forgotten(self, session: Session, address: bytes) -> None:
        """Stop that, unless it is another session's by now."""
        self.routes.forget(session, address)

    def unhold(self, session: Session) -> None:
        """It has something to say, so it goes on here."""
        if session.held:
            self.between.release(session)

    def silence(self, session: Session) -> list[tuple[bytes, bytes]]:
        """Neither packets nor time reach it any more; what had come, and it has not seen."""
        self.routes.drop(session)
        self._alarm.cancel(session)
        return self._handshakes.forget(session)

    def workers(self) -> set[bytes]:
        """The relay workers that live calls use."""
        return {path.relay for path in self._paths.values() if path.relay}

    def changed(self, session: Session) -> None:
        """Something has happened that a checkpoint is to know."""
        for tell in self._changed_listeners:
            tell(session.call_id)

    def adopted(self, session: Session) -> None:
        """A call of another process goes on here."""
        for tell in self._here_listeners:
            with self.guarded(session):
                tell(session.call_id)

    def connected(self, session: Session) -> None:
        """The handshake is over: the caller is there."""
        for tell in self._connected_listeners:
            tell(session.call_id)

    def backend_lost(self, session: Session) -> bool:
        """Somebody looks for another."""
        return self.on_backend_lost(session)

    def ended(self, session: Session) -> None:
        """The call is no longer live, and nothing of it is left but what waits for the flush."""
        self._calls.pop(session.call_id, None)
        self.silence(session)
        self.between.drop(session)
        self._claiming.forget(session.call_id)
        self.counters[call_ended(session.end_reason)] += 1
        if not self._calls:
            self._idle.set()
        goes_on = session.end_reason in ("moved", "fenced")
        moved = self._away_listeners if goes_on else []
        for tell in (*moved, *self._ended_listeners):
            with self.guarded(session):
                tell(session.call_id)

    def fail(self, session: Session, error: Exception) -> None:
        """What raised in a call is the end of that call: counted, logged once. Never raises."""
        with suppress(Exception):  # a log that cannot be written is no reason to go on
            self.counters[Counted.CALL_FAULTS] += 1
            if not session.failed:
                session.failed = True
                session.record.fault(error)
                log.error("call_failed", call_id=session.call_id, exc_info=error)
        try:
            session.end("failed")
        except Exception:
            self.counters[Counted.CALL_FAULTS] += 1

    def guarded(self, session: Session) -> Guard:
        """`fail` for what raises within; for ways into a session that are not every packet's."""
        return Guard(partial(self.fail, session))

    def count(self, reason: str, amount: int = 1) -> None:
        """Add to a counter."""
        self.counters[reason] += amount

    # A wake-up by the socket.

    def _on_readable(self) -> None:
        self._flush_is_due = True
        now = self._loop.time()
        try:
            for source, frames in self._trunk.receive(now):
                self._source = source
                self._dispatch(frames, now)
        finally:
            self._source = b""
            self._flush()

    def _dispatch(self, frames: Frames, now: float) -> None:
        paths, source = self._paths, self._source
        for address, packet in frames:
            path = paths.get(address)
            if path is not None and source:
                path.relay = source
            is_sound = (
                len(packet) > 1 and packet[0] >= MIN_MEDIA_BYTE and packet[1] not in RTCP_BYTES
            )
            if is_sound and path is not None and not self._handshakes_are_due:
                try:
                    path.session.handle_datagram(address, packet, now)
                except Exception as error:
                    self.fail(path.session, error)
            else:
                self._dispatch_other(path, address, packet, is_sound, now)

    def _dispatch_other(
        self, path: Path | None, address: bytes, packet: bytes, is_sound: bool, now: float
    ) -> None:
        if packet and packet[0] <= MAX_STUN_BYTE:
            self._dispatch_stun(path, address, packet, now)
        elif path is not None:
            self._dispatch_to(path.session, address, packet, is_sound, now)
        elif not self.between.take(self._source, address, packet):
            self.counters[Counted.UNKNOWN_ADDRESS] += 1

    def _dispatch_to(
        self, session: Session, address: bytes, packet: bytes, is_sound: bool, now: float
    ) -> None:
        try:
            if not session.secured:
                # Sound too: right behind a caller's last flight it must not overtake that.
                self._put_off(session, address, packet, MAX_WAITING_PER_CALL)
            elif is_sound:
                session.handle_datagram(address, packet, now)
            else:
                self._put_off(session, address, packet, MAX_WAITING_OF_CONNECTED)
        except Exception as error:
            self.fail(session, error)

    def _dispatch_stun(self, path: Path | None, address: bytes, packet: bytes, now: float) -> None:
        session: Session | None
        try:
            message = stun.read(packet)
            if path is not None and message.message_class in _RESPONSES:
                session, ufrag = path.session, ""
            else:
                ufrag = stun.username(message)[0]
                session = self._ufrags.get(ufrag)
        except WireError as error:
            self.counters[error.reason] += 1
            return
        except Exception as error:
            self._packet_failed(error)
            return
        if session is None:
            if not self.between.take_check(ufrag, self._source, address, packet):
                self.counters[Counted.UNKNOWN_UFRAG] += 1
        else:
            with self.guarded(session):
                session.handle_stun(message, packet, address, now)

    def take_in(self, relay: bytes, address: bytes, packet: bytes) -> None:
        """A packet that has waited: as if it had come from that relay worker now."""
        source, self._source = self._source, relay
        self._dispatch(((address, packet),), self._loop.time())
        self._source = source

    def _packet_failed(self, error: Exception) -> None:
        """A packet that belongs to no call yet: dropped, and the first of the process is logged."""
        if not self.counters[Counted.PACKET_FAULTS]:
            log.error("packet_failed", exc_info=error)
        self.counters[Counted.PACKET_FAULTS] += 1

    # What is no sound: a few datagrams a wake-up, so that live calls do not wait for new ones, nor
    # for one that sends more than anybody can mean.

    def _put_off(self, session: Session, address: bytes, packet: bytes, most: int) -> None:
        if not self._handshakes.add(session, address, packet, most):
            self.counters[Counted.DTLS_WAITING_FULL] += 1
        elif not self._handshakes_are_due:
            self._handshakes_are_due = True
            self._loop.call_soon(self._shake_hands)

    def _shake_hands(self) -> None:
        now = self._loop.time()
        for _ in range(MAX_DATAGRAMS_PER_TURN):
            waiting = self._handshakes.take()
            if waiting is not None:
                session, address, packet = waiting
                with self.guarded(session):
                    session.handle_datagram(address, packet, now)
        # What is left has its turn after the sockets have had theirs.
        self._handshakes_are_due = len(self._handshakes) > 0
        if self._handshakes_are_due:
            self._loop.call_soon(self._shake_hands)
        self._flush()

    # A wake-up by the wheel.

    def _on_due(self, sessions: list[Session], now: float) -> None:
        self._flush_is_due = True
        try:
            for session in sessions:
                try:
                    session.tick(now)
                except Exception as error:
                    self.fail(session, error)
        finally:
            self._flush()

    # The end of a wake-up.

    def _flush(self) -> None:
        self._flush_is_due = False
        self._trunk.flush(self.route)


def _give_up(_session: Session) -> bool:
    return False
