"""One call: ICE, DTLS, audio, data channels and the model link together, without a socket.

    caller ── STUN ──▶ CallTransport
           ── DTLS ──▶ CallTransport ── keys ──▶ AudioStream
                            └── SCTP ──▶ CallMessages ─────────────┐
           ── SRTP ──▶ AudioStream ── frames ──▶ CallVoice ────────┴─▶ CallHandle (model link)
           ◀── SRTP ── AudioStream ◀── paced ─── CallVoice, CallMessages ◀── on_audio, on_data …

Datagrams come in by `handle_stun` and `handle_datagram`, time by `tick`, the backend by the `on_…`
methods; what goes out goes to the `Host`, at once and in order. The states are in `states`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import structlog

from transceiver.call.backend_line import BackendLine, Terms
from transceiver.call.host import Host
from transceiver.call.offer import Offer
from transceiver.call.our_events import backend_restored, farewell
from transceiver.call.parts import CallParts
from transceiver.call.pcm_voice import choose_format
from transceiver.call.principal import NOBODY
from transceiver.call.record import NO_RECORD
from transceiver.call.sidebands import EVENTS_LABEL, Sidebands
from transceiver.call.snapshot import CallSnapshot
from transceiver.call.states import END_REASONS, FAREWELLS, State, Step, follow
from transceiver.call.transport import CallTransport
from transceiver.counters import Counted, dtls_failed
from transceiver.faults import every_step
from transceiver.link.call_handle import CallHandle
from transceiver.link.errors import BackendAbsent, CallUnknown
from transceiver.link.model_link import ModelLink
from transceiver.link.position import Position
from transceiver.rtp.audio import AudioStream
from transceiver.takeover.held_events import HeldEvents
from transceiver.takeover.session_state import STOPPED_BEFORE, Places, Reserve, SessionState
from transceiver.transport import dtls
from transceiver.transport.certificate import LocalCertificate
from transceiver.transport.ice import (
    AddressForgotten,
    AddressLearned,
    GenerationEnded,
    IceEvent,
    Selected,
)
from transceiver.transport.srtp import SrtpKeys, SrtpSession
from trunkline.v1 import model_pb2
from wire import stun
from wire.classify import PacketKind, classify
from wire.errors import WireError

CONNECT_TIMEOUT_S = 30.0
# Time for the last message to leave through SCTP, before the association is ended.
FAREWELL_S = 0.2

# For the path of every packet: Python 3.11 takes 0.1 µs to look up a member of an Enum.
_STUN, _DTLS = PacketKind.STUN, PacketKind.DTLS
_RTP, _RTCP = PacketKind.RTP, PacketKind.RTCP
_ENDED = State.ENDED

log = structlog.get_logger(__name__)


class Session:
    """One call, from its offer to its end.

    Made by the engine; `open` puts it on the model link and lets callers reach it. `unix_s` is the
    Unix time of `host.now()`. What a caller or a backend sends is not meant to raise out of it;
    where something does, the host ends this call and no other (`Host.fail`).
    """

    def __init__(
        self,
        call_id: str,
        offer: Offer,
        surface: str,
        certificate: LocalCertificate,
        host: Host,
        unix_s: float,
        transport: CallTransport | None = None,
    ) -> None:
        now = host.now()
        self.call_id = call_id
        self.offer = offer
        self.surface = surface
        self.placed_by = NOBODY
        self.cname = call_id
        self.started_unix_ms = int(unix_s * 1000)
        self.state = State.NEW
        self.end_reason = ""
        self.failed = False  # something raised, and the log says so already
        self.record = NO_RECORD
        self._host = host
        self._parts = CallParts(
            *(call_id, offer, transport or CallTransport(offer, certificate, host), host, unix_s),
            *(self._on_message, self._failed),
        )
        self._transport, self._audio = self._parts.transport, self._parts.audio
        self._voice, self._messages = self._parts.voice, self._parts.messages
        self._ice = self._transport.ice
        self._line = BackendLine(self._voice, self._restored, self._nobody_listened)
        self._held: HeldEvents | None = None
        self.places: Places | None = None  # in the limits; set by who admitted the call
        self._connect_by_s = now + CONNECT_TIMEOUT_S
        self._farewell_s, self._farewell_reason = math.inf, ""
        self._wake_s = math.inf

    @property
    def handle(self) -> CallHandle | None:
        """The call at its backend; None: it has none now."""
        return self._line.handle

    @property
    def line(self) -> BackendLine:
        """Who has the call, and what is held while nobody does."""
        return self._line

    @property
    def leaving(self) -> bool:
        """Whether the call is over, or its caller reads already why it will be."""
        return self.state is _ENDED or self._farewell_s < math.inf

    @property
    def ssrc(self) -> int:
        """Of the RTP stream we send."""
        return self._audio.sender.ssrc

    @property
    def local_ufrag(self) -> str:
        """Our ICE username fragment, of the latest restart."""
        return self._transport.local_ufrag

    @property
    def local_password(self) -> str:
        """The password that goes with it."""
        return self._transport.local_password

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """The caller's addresses that authenticated, at most `ice.MAX_ADDRESSES`."""
        return self._ice.addresses

    @property
    def ufrags(self) -> tuple[str, ...]:
        """Our ufrags that checks may name: one, or two during an ICE restart."""
        return self._ice.local_ufrags

    @property
    def audio(self) -> AudioStream:
        """Both directions of its sound."""
        return self._audio

    @property
    def sidebands(self) -> Sidebands:
        """Who else hears what the caller is sent."""
        return self._messages.sidebands

    @property
    def secured(self) -> bool:
        """Whether the DTLS handshake is over."""
        return self._transport.secured

    # Another process goes on: export here, resume there.

    @classmethod
    def resumed(
        cls,
        state: SessionState,
        certificate: LocalCertificate,
        host: Host,
        unix_s: float,
        reserve: Reserve = STOPPED_BEFORE,
    ) -> Session:
        """A call that another process exported, connected; `open` it, then `carry_on`.

        Raises ValueError when its DTLS or SRTP cannot be resumed here.
        """
        exported_s = host.now() - max(0.0, unix_s - state.unix_s)
        transport = CallTransport.resumed(state, certificate, host, exported_s, reserve)
        session = cls(
            *(state.call_id, state.offer, state.surface, certificate, host, unix_s), transport
        )
        session.started_unix_ms, session.placed_by = state.started_unix_ms, state.placed_by
        session.places = state.places
        session.sidebands.reopen(state.sideband_opening, state.sidebands, state.sideband_missed)
        return session

    def carry_on(self, state: SessionState, unix_s: float, reserve: Reserve) -> None:
        """Let sound and messages of a resumed call flow. Raises ValueError as `resumed`."""
        now = self._host.now()
        self.state = State.CONNECTED
        self._line.go_on(state.link)
        self._parts.resume(state, now - max(0.0, unix_s - state.unix_s), now, reserve)
        log.info("call_resumed", call_id=self.call_id)
        self._rewake(now)
        self._host.changed(self)

    def export(self, unix_s: float, relay_of: Callable[[bytes], bytes]) -> SessionState:
        """The call as a value, at the Unix time `unix_s`. Raises RuntimeError when not connected.

        `relay_of` names the relay that hears an address. For a handover `hold` comes before, or the
        exported counters are not true any more.
        """
        if self.state is not State.CONNECTED:
            raise RuntimeError("a call can be exported while it is connected")
        return SessionState(
            call_id=self.call_id,
            surface=self.surface,
            placed_by=self.placed_by,
            started_unix_ms=self.started_unix_ms,
            unix_s=unix_s,
            offer=self.offer,
            link=self._line.export(),
            places=self.places,
            **self._parts.export(self._host.now(), relay_of)._asdict(),
        )

    @property
    def movable(self) -> bool:
        """Whether another process could go on with it: connected, and not about to end."""
        return self.state is State.CONNECTED and self._farewell_s == math.inf

    @property
    def held(self) -> bool:
        """Whether it is silent, because another process may be about to go on with it."""
        return self._held is not None

    def hold(self) -> None:
        """Say nothing more to caller or backend; what the backend says meanwhile waits."""
        self._voice.hear(self._audio.window.flush(), self.handle)  # nobody else will have them
        self._held = HeldEvents(lambda: self._host.unhold(self))
        self._transport.muted = True
        self._wake_s = math.inf
        if self.handle is not None:
            self.handle.write_reports()  # nothing is to be sent behind what is exported
            self.handle.heard_by(self._held)

    def release(self) -> None:
        """Take that back: go on here."""
        held, self._held = self._held, None
        self._transport.muted = False
        if self.handle is not None:
            self.handle.heard_by(self)
        if held is not None:
            held.replay(self)
        self._rewake(self._host.now())
        self._host.changed(self)

    def leave(self, reason: str = "moved") -> None:
        """End here and tell the caller nothing: another process goes on with the call.

        `reason` is "moved", or "fenced" when others took this process for dead.
        """
        if self.state is State.ENDED:
            return
        self.state = follow(self.state, Step.END)
        self.end_reason = reason
        log.info("call_left", call_id=self.call_id, reason=reason)
        self.record.left()
        every_step(self._parts.leave, self._line.leave, self._let_go)

    # The front: signaling and the operator.

    def open(
        self,
        link: ModelLink,
        session_json: str,
        resume: Position | None = None,
        *,
        exact: bool = False,
    ) -> None:
        """Put the call on the link, or, with `resume`, go on there with one of another process.

        A backend that holds no calls is given its conversation. Raises BackendAbsent or CallLimit.
        """
        audio_format = choose_format(link.accepts)
        if not audio_format:
            raise BackendAbsent("the backend accepts no audio format of ours")
        terms = Terms(
            *(self.call_id, session_json, self.started_unix_ms, audio_format),
            self.placed_by.may_set,
        )
        self.record.backend_chosen(link.backend, audio_format, session_json)
        self._voice.speak(audio_format)
        try:
            self._line.open(link, self, terms, resume, exact=exact)
        except CallUnknown:
            self.on_backend_lost()
        for ufrag in self.ufrags:
            self._host.answers_to(self, ufrag)
        self._rewake(self._host.now())

    async def accepted(self, timeout_s: float) -> None:
        """Return when the backend took the call.

        Raises BackendRefused or BackendAbsent, also when there is no answer in `timeout_s`. The
        call goes on until someone ends it.
        """
        if self.handle is not None:
            await self.handle.accepted(timeout_s)
            self.record.answered()

    def ask(self, link: ModelLink) -> CallHandle:
        """Ask another backend to go on with a call that has none; await its answer next.

        When it takes the call, it hears what was held. Raises BackendAbsent or CallLimit.
        """
        return self._line.ask(link, self, self._host.now)

    def give_up(self) -> None:
        """No backend goes on with the call: tell the caller, then end it."""
        if not self.leaving:
            self._audio.sender.clear()
            self._say_goodbye("failed", "backend_lost")

    def restart_ice(self, remote_ufrag: str, remote_password: str) -> tuple[str, str] | None:
        """New credentials for a caller with new ones (RFC 8445 §9): ours, ufrag and password.

        The old ones hold until the first check with the new. None: the call failed over it.
        """
        with self._host.guarded(self):
            self._host.unhold(self)
            return self._restart_ice(remote_ufrag, remote_password)
        return None

    def _restart_ice(self, remote_ufrag: str, remote_password: str) -> tuple[str, str]:
        replaced = self._transport.restart(remote_ufrag, remote_password)
        if replaced is not None:
            self._host.ufrag_ended(replaced.local_ufrag)
        self._host.answers_to(self, self.local_ufrag)
        self.record.ice_restarted()
        self._host.changed(self)
        return self.local_ufrag, self.local_password

    def snapshot(self) -> CallSnapshot:
        """What the operator may know of the call."""
        state = "moving" if self.held else self.state.value
        return CallSnapshot.of(
            *(self.call_id, state, self.started_unix_ms, self._line.backend),
            *(self.surface, self._audio, self._messages, self._ice.selected),
        )

    # The caller's side: datagrams and time.

    def handle_datagram(self, address: bytes, packet: bytes, now: float) -> None:
        """Take a datagram from the caller's `address` (18 bytes)."""
        kind = classify(packet)
        if kind is _STUN:
            self._read_stun(packet, address, now)
            return
        path = self._ice.paths.get(address)
        if path is None:
            self._host.count(Counted.SESSION_UNKNOWN_ADDRESS)
            return
        if not path.answered:
            path.came(len(packet))
        if self.state is _ENDED:
            self._host.count(Counted.SESSION_ENDED)
        elif kind is _RTP:
            frames = self._audio.receive_rtp(packet, now)
            if frames:
                self._voice.hear(frames, self._line.hearer)
            self._note_held(now)
        elif kind is _RTCP:
            self._read_rtcp(packet, now)
        elif kind is _DTLS:
            self._on_dtls(self._transport.handle_dtls(packet, now), now)
            self._rewake(now)
        else:
            self._host.count(Counted.SESSION_UNKNOWN_KIND)

    def handle_stun(self, message: stun.Message, packet: bytes, address: bytes, now: float) -> None:
        """Take a STUN message that names one of our ufrags, or answers a check of ours.

        `packet` is what it was read from.
        """
        if self.state is State.ENDED:
            self._host.count(Counted.SESSION_ENDED)
            return
        events, checked = self._transport.handle_stun(message, packet, address, now)
        for event in events:
            self._on_ice(event)
        if events:
            self._host.changed(self)
        if checked:
            self.record.checked(address)
            self.state = follow(self.state, Step.CHECKED)
            self._on_dtls(self._transport.checked(now), now)
            self._rewake(now)  # a ClientHello of ours may be lost

    def forget_address(self, address: bytes) -> None:
        """Another session owns `address` now."""
        self._ice.forget(address)

    def tick(self, now: float) -> None:
        """Do what is due. The host calls this at the time last asked for, or later."""
        self._wake_s = math.inf
        if self.state is State.ENDED:
            return
        if self._overdue(now):
            return
        if self.state is not State.CONNECTED:
            self._on_dtls(self._transport.handle_timeout(now), now)
        self._voice.hear(self._audio.window.expire(now), self._line.hearer)
        self._play(now)
        self._rewake(now)

    def end(self, reason: str) -> None:
        """End the call: tell the caller and the backend, let everything go.

        `reason` is one of `END_REASONS`; ending twice does nothing.
        """
        self._host.unhold(self)
        if self.state is State.ENDED:
            return
        self.state = follow(self.state, Step.END)
        self.end_reason = reason
        log.info("call_ended", call_id=self.call_id, reason=reason)
        every_step(
            lambda: self.record.ended(reason, self.snapshot()),
            self._say_bye,
            self._messages.close,
            self._transport.close,
            lambda: self._close_link(reason),
            self._let_go,
        )

    def dismiss(self, reason: str) -> None:
        """Tell the caller why, then end the call; `reason` is one of `END_REASONS`."""
        self._host.unhold(self)
        if self.state is not State.CONNECTED:
            self.end(reason)
        elif self._farewell_s == math.inf:
            self._say_goodbye(reason, reason)

    def hear_sideband(self, text: str, *, from_server: bool) -> None:
        """Take an event of a side band as if the caller had sent it, or the application's server,
        whom no page's policy binds."""
        with self._host.guarded(self):
            self._host.unhold(self)
            hearer = self._line.hearer
            if hearer is not None and self.state is not State.ENDED:
                hearer.send_text(EVENTS_LABEL, text, from_server=from_server)

    # The backend's side: transceiver.link.call_handle.CallSink.

    def on_accepted(self) -> None:
        """The backend has the call."""
        self._line.taken = True

    def on_remember(self, snapshot: bytes) -> None:
        """Keep it, in case that the backend is lost."""
        self._line.remembered = snapshot

    def on_encoder(self, encoder: model_pb2.OpusEncoder) -> None:
        """Write the backend's PCM as it asks."""
        self._voice.write_as(encoder)

    def on_resumed(self, ear: model_pb2.Playout) -> None:
        """Go on where the caller's ear is, and say so: a clear may wait for its answer."""
        self._voice.carry_on(ear, self.handle)

    def on_audio(self, payload: bytes, duration: int) -> None:
        """Queue a frame; it is paced out, or waits until the caller is there."""
        now = self._host.now()
        self._voice.put(payload, duration, now)
        self._play(now)
        if self._audio.sender:  # what left at once brings no deadline forward
            self._rewake(now)

    def on_data(self, label: str, content: str | bytes) -> None:
        """Send a message to the caller; it waits for a channel that is not open yet."""
        self._messages.tell(label, content)

    def on_clear(self) -> None:
        """Forget queued frames, and say how far the caller heard."""
        self._voice.clear(self._line.handle)

    def on_hang_up(self, reason: str) -> None:
        """The backend ended the call; the caller reads why when nobody on the line wanted it."""
        self.record.backend_hung_up(reason)
        if reason in FAREWELLS:
            self.dismiss(reason)
        else:
            self.end(reason if reason in END_REASONS else "hangup")

    def on_backend_lost(self) -> None:
        """Another backend is asked; where none is, the caller is told, and the call ends.

        What is queued goes on meanwhile, and what the caller says is held.
        """
        self.record.backend_lost()
        self._line.lose(self._host.now())
        if not (self._line.taken and self._host.backend_lost(self)):
            self.give_up()

    def on_fault(self, error: Exception) -> None:
        """One of these raised, or what the call had to say could not be written."""
        self._failed(error)

    # Inside: ICE and DTLS.

    def _read_stun(self, packet: bytes, address: bytes, now: float) -> None:
        try:
            message = stun.read(packet)
        except WireError as error:
            self._host.count(error.reason)
            return
        self.handle_stun(message, packet, address, now)

    def _on_ice(self, event: IceEvent) -> None:
        if isinstance(event, AddressLearned):
            self._host.address_learned(self, event.address)
        elif isinstance(event, AddressForgotten):
            self._host.address_forgotten(self, event.address)
        elif isinstance(event, GenerationEnded):
            self._host.ufrag_ended(event.local_ufrag)
        elif isinstance(event, Selected):
            self.record.path(event.address, self._audio.round_trip_s)

    def _on_dtls(self, events: Iterator[dtls.Event], now: float) -> None:
        for event in events:
            self._on_dtls_event(event, now)

    def _on_dtls_event(self, event: dtls.Event, now: float) -> None:
        if isinstance(event, dtls.ApplicationData):
            self._messages.handle(event.data)
            if self._messages.has_news():
                self._host.changed(self)
        elif isinstance(event, dtls.Connected):
            self._secured(event.keys, now)
        elif isinstance(event, dtls.Closed):
            self.record.dtls_closed()
            self.end("client_closed")
        else:
            self.record.dtls_failed(event.reason)
            self._host.count(dtls_failed(event.reason))
            self.end("timeout" if event.reason == "timeout" else "failed")

    def _secured(self, keys: SrtpKeys, now: float) -> None:
        if self.state is State.ENDED:
            return
        self.state = follow(self.state, Step.SECURED)
        self._transport.handshake_done()
        self._audio.start(SrtpSession(keys), now)
        self._host.connected(self)
        self.record.connected()
        log.info("call_connected", call_id=self.call_id)
        self._messages.start()
        self._play(now)
        self._host.changed(self)

    # Inside: a backend that is lost.

    def _restored(self, gap_ms: int, dropped: int) -> None:
        """Another backend goes on; `dropped` packets of sound it will never hear."""
        losses = self._line.losses
        self.record.backend_restored(self._line.backend)
        self._host.count(Counted.CALL_BACKEND_RESTORED)
        self._host.count(Counted.HELD_SOUND_DROPPED, dropped)
        self.on_data(EVENTS_LABEL, backend_restored(losses, gap_ms))
        log.info("call_backend_restored", call_id=self.call_id, losses=losses, gap_ms=gap_ms)

    def _nobody_listened(self) -> None:
        """More messages wait for a backend than can be held."""
        self._host.count(Counted.HELD_MESSAGES_FULL)
        self.give_up()

    # Inside: messages.

    def _on_message(self, label: str, content: str | bytes) -> None:
        hearer = self._line.hearer
        if hearer is None or self.state is State.ENDED:
            return
        if isinstance(content, str):
            hearer.send_text(label, content)
        else:
            hearer.send_binary(label, content)

    # Inside: audio.

    def _read_rtcp(self, packet: bytes, now: float) -> None:
        learned, frames = self._audio.receive_rtcp(packet, now)
        self._voice.hear(frames, self._line.hearer)
        self._voice.reported(self._line.handle, moved=learned.acknowledged)

    def _play(self, now: float) -> None:
        for packet in self._audio.poll(now):
            self._transport.send(packet)
        self._voice.played(self._line.handle)

    # Inside: time and the end.

    def _say_goodbye(self, reason: str, code: str) -> None:
        now = self._host.now()
        self.on_data(EVENTS_LABEL, farewell(code))
        self._farewell_s, self._farewell_reason = now + FAREWELL_S, reason
        self._rewake(now)

    def _overdue(self, now: float) -> bool:
        if now >= self._farewell_s:
            self.end(self._farewell_reason)
        elif self._ice.expired(now):
            self._host.count(Counted.ICE_CONSENT_EXPIRED)
            self.record.consent_expired()
            self.end("timeout")
        elif self.state is not State.CONNECTED and now >= self._connect_by_s:
            self.end("timeout")
        return self.state is State.ENDED

    def _note_held(self, now: float) -> None:
        # The one deadline that a packet can bring forward.
        if self._audio.window.pressing:
            self._rewake(now)

    def _rewake(self, now: float) -> None:
        if self.state is State.ENDED:
            return
        due_s = self._due_s(now)
        if due_s < self._wake_s:
            self._wake_s = due_s
            self._host.wake_at(self, due_s)

    def _due_s(self, now: float) -> float:
        due_s = self._farewell_s
        if self.state is State.CONNECTED:
            audio_s = self._audio.due_s(now)
            expiry_s = self._ice.expiry_s()
        else:
            audio_s = self._transport.handshake_due_s()
            expiry_s = self._connect_by_s
        if audio_s is not None and audio_s < due_s:
            due_s = audio_s
        return due_s if expiry_s is None or due_s < expiry_s else expiry_s

    def _failed(self, error: Exception) -> None:
        self._host.fail(self, error)

    def _say_bye(self) -> None:
        goodbye = self._audio.goodbye(self._host.now())
        if goodbye is not None:
            self._transport.send(goodbye)

    def _close_link(self, reason: str) -> None:
        self._line.close(reason)

    def _let_go(self) -> None:
        every_step(
            self._parts.collect_counters,
            lambda: self._host.ended(self),
            self._messages.release,
        )
