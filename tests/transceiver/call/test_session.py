"""Whole sessions against a scripted caller and backend, in memory and on virtual time."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections import Counter
from functools import partial

import pytest

from tests.transceiver.caller import (
    AWAY,
    HOME,
    OUR_CERTIFICATE,
    VOICE_SSRC,
    Caller,
    FakeLink,
    make_offer,
)
from transceiver.call.offer import Offer
from transceiver.call.session import CONNECT_TIMEOUT_S, FAREWELL_S, Session
from transceiver.call.states import FAREWELLS, TRANSITIONS, State, Step, follow
from transceiver.call.voice import CREDIT_LOT, SEND_CREDIT
from transceiver.call.waiting_messages import MAX_BYTES, MAX_MESSAGES, WaitingMessages
from transceiver.engine.wheel import Wheel
from transceiver.faults import Guard
from transceiver.rtp.receive import HOLD_S
from transceiver.transport.dtls import RETRANSMIT_S, Connected
from transceiver.transport.ice import CONSENT_S
from wire.address import pack_address
from wire.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport


class World:
    """One session, its caller and its backend; packets arrive at once, time moves by `advance`."""

    def __init__(
        self,
        offer: Offer | None = None,
        *,
        echo: bool = True,
        accepts: tuple[int, ...] = FakeLink().accepts,
    ) -> None:
        self.time_s = 100.0
        self.link = FakeLink(echo=echo, accepts=accepts)
        self.counters: Counter[str] = Counter()
        self.paths: set[bytes] = set()
        self.ufrags: set[str] = set()
        self.sent: list[tuple[bytes, bytes]] = []
        self.calls: list[str] = []
        self.minted = 0
        self.restores = False
        self.wheel: Wheel[Session] = Wheel()
        self.address = HOME
        chosen = offer or make_offer()
        self.session = Session("rtc_test", chosen, "whip", OUR_CERTIFICATE, self, 1.7e9)
        self.session.open(self.link.as_link(), "{}")
        self.caller = Caller(
            chosen, self.session.local_ufrag, self.session.local_password, self.time_s
        )

    @property
    def handle(self):  # type: ignore[no-untyped-def]
        return self.link.handles[0]

    # transceiver.call.host.Host

    def now(self) -> float:
        return self.time_s

    def transmit(self, address: bytes, packet: bytes) -> None:
        self.sent.append((address, packet))

    def wake_at(self, session: Session, when_s: float) -> None:
        self.wheel.schedule(session, when_s)

    def mint(self) -> tuple[str, str]:
        self.minted += 1
        return f"ufrag{self.minted}", f"password-{self.minted}"

    def answers_to(self, session: Session, ufrag: str) -> None:
        self.ufrags.add(ufrag)

    def changed(self, session: Session) -> None:
        """No checkpoints here."""

    def ufrag_ended(self, ufrag: str) -> None:
        self.ufrags.remove(ufrag)

    def address_learned(self, session: Session, address: bytes) -> None:
        self.paths.add(address)

    def address_forgotten(self, session: Session, address: bytes) -> None:
        self.paths.discard(address)

    def unhold(self, session: Session) -> None:
        """Nobody moves here."""

    def connected(self, session: Session) -> None:
        """Nobody counts here."""

    def backend_lost(self, session: Session) -> bool:
        self.calls.append("backend lost")
        return self.restores

    def ended(self, session: Session) -> None:
        self.calls.append("ended")
        self.wheel.cancel(session)
        self.paths.clear()

    def fail(self, session: Session, error: Exception) -> None:
        raise error

    def guarded(self, session: Session) -> Guard:
        return Guard(partial(self.fail, session))

    def count(self, reason: str, amount: int = 1) -> None:
        self.counters[reason] += amount

    # The path between the two.

    async def settle(self) -> None:
        """Carry packets until neither side has more; tasks of the SCTP library run in between."""
        quiet = 0
        while quiet < 5:
            moved = bool(self.sent or self.caller.out)
            while self.sent:
                address, packet = self.sent.pop(0)
                if address == self.address:
                    self.caller.receive(packet, self.time_s)
            while self.caller.out:
                packet = self.caller.out.pop(0)
                self.session.handle_datagram(self.address, packet, self.time_s)
            await asyncio.sleep(0)
            quiet = 0 if moved else quiet + 1

    async def advance(self, seconds: float) -> None:
        until_s = self.time_s + seconds
        while (next_s := self.wheel.next_s()) is not None and next_s <= until_s:
            self.time_s = max(self.time_s, next_s)
            for session in self.wheel.expire(self.time_s):
                session.tick(self.time_s)
            await self.settle()
        self.time_s = until_s

    async def connect(self) -> World:
        self.caller.check()
        await self.settle()
        if self.session.state is not State.CONNECTED:
            self.caller.start_dtls(self.time_s)
            await self.settle()
        assert self.session.state is State.CONNECTED
        return self

    async def finish(self) -> None:
        """End what is left, on both sides."""
        await self.caller.hang_up()
        self.session.end("operator")
        await self.settle()


@pytest.fixture
async def world():  # type: ignore[no-untyped-def]
    made = await World().connect()
    yield made
    await made.finish()


def test_the_table_names_every_way_out_of_every_live_state() -> None:
    """Each live state can end, an ended one can do nothing, and checks never move one back."""
    for state in State:
        live = state is not State.ENDED
        assert ((state, Step.END) in TRANSITIONS) == live
        assert ((state, Step.CHECKED) in TRANSITIONS) == live
    with pytest.raises(KeyError):
        follow(State.NEW, Step.SECURED)


@pytest.mark.parametrize("role", ["client", "server"])
async def test_sound_and_messages_go_round_in_both_dtls_roles(role: str) -> None:
    """RTP both ways through the backend, text and binary on the channel of the caller."""
    world = World(make_offer(role))
    assert world.session.snapshot().state == "new"
    await world.connect()
    for index in range(50):
        world.caller.say(b"\xf8" + index.to_bytes(2))
        await world.settle()
        await world.advance(0.02)
    assert [packet.payload for packet in world.caller.heard] == [
        b"\xf8" + index.to_bytes(2) for index in range(50)
    ]
    assert [packet.marker for packet in world.caller.heard] == [True] + [False] * 49
    assert world.caller.opened == ["oai-events"]
    assert world.caller.channels is not None
    world.caller.channels.send("oai-events", "hello")
    world.caller.channels.send("oai-events", b"\x00\x01")
    await world.settle()
    assert world.caller.messages == [("oai-events", "hello"), ("oai-events", b"\x00\x01")]
    snapshot = world.session.snapshot()
    assert (snapshot.packets_received, snapshot.packets_sent, snapshot.packets_lost) == (50, 50, 0)
    assert (snapshot.messages_received, snapshot.messages_sent) == (2, 2)
    assert (snapshot.state, snapshot.client_network) == ("connected", "203.0.113.0/24")
    await world.finish()


async def test_a_check_that_does_not_authenticate_starts_nothing() -> None:
    """Wrong integrity and a forged ufrag: no answer, no address, no DTLS."""
    world = World()
    world.caller.check(password="guessed")
    await world.settle()
    world.caller.ufrag = "forged"
    world.caller.check()
    await world.settle()
    assert world.counters == {"ice_integrity": 1, "ice_local_ufrag": 1}
    assert not world.paths and not world.caller.responses
    assert world.session.state is State.NEW
    await world.finish()


async def test_what_comes_before_the_first_check_is_dropped() -> None:
    """DTLS, RTP and noise from an address that ICE does not know."""
    world = World(make_offer("server"))
    world.caller.start_dtls(world.time_s)
    noise = [b"\x80\x6d" + bytes(40), b"\x80\xc8" + bytes(40), b"\xff", b"", bytes(20)]
    world.caller.out += noise
    await world.settle()
    assert world.counters == {"session_unknown_address": 5, "stun_cookie": 1}
    await world.finish()


async def test_noise_on_a_live_call_is_counted_and_changes_nothing(world: World) -> None:
    """Forged SRTP, garbage DTLS and unknown kinds."""
    good = world.caller.say()
    await world.settle()
    forged = good[:-1] + bytes((good[-1] ^ 1,))
    world.caller.out += [forged, good, b"\x16\xfe\xfdgarbage", b"\x80\xc8" + bytes(30), b"\xff"]
    await world.settle()
    assert world.session.state is State.CONNECTED
    assert len(world.handle.audio) == 1
    assert world.counters["session_unknown_kind"] == 1
    assert sum(world.session._audio.dropped.values()) == 3


async def test_a_rebound_nat_takes_the_call_along(world: World) -> None:
    """After one check from the new address sound goes there."""
    world.address = AWAY
    world.caller.check()
    await world.settle()
    world.caller.say(b"\xf8after")
    await world.settle()
    assert [packet.payload for packet in world.caller.heard] == [b"\xf8after"]
    assert world.paths == {HOME, AWAY}


async def test_an_ice_restart_goes_on_without_a_gap(world: World) -> None:
    """Old credentials work until the new ones are used; then they are gone."""
    old = world.caller.ufrag
    fresh = world.session.restart_ice("caller2", "p" * 24)
    assert fresh == (world.session.local_ufrag, world.session.local_password)
    world.caller.check()
    await world.settle()
    assert world.ufrags == {old, fresh[0]} and len(world.caller.responses) == 2
    world.caller.ufrag, world.caller.password = fresh
    world.caller.remote_ufrag = "caller2"
    world.caller.check()
    await world.settle()
    assert world.ufrags == {fresh[0]} and len(world.caller.responses) == 3
    world.caller.say()
    await world.settle()
    assert len(world.caller.heard) == 1 and world.session.state is State.CONNECTED


async def test_restarts_that_are_never_used_do_not_pile_up(world: World) -> None:
    """At most two ufrags lead to a session."""
    for index in range(5):
        world.session.restart_ice(f"caller{index}", "p" * 24)
    assert len(world.ufrags) == 2


async def test_a_lost_packet_is_reported_to_the_backend_after_the_hold(world: World) -> None:
    """The frame after a hole waits `HOLD_S`, then goes on with `lost`."""
    world.caller.say()
    world.caller.say(skip=2)
    await world.settle()
    assert [lost for *_, lost in world.handle.audio] == [0]
    await world.advance(HOLD_S + 0.003)
    assert [lost for *_, lost in world.handle.audio] == [0, 2]
    assert world.session.snapshot().packets_lost == 2


async def test_reports_flow_and_acknowledge_what_was_heard(world: World) -> None:
    """Our SR carries a block on the caller; the caller's RR moves the played-out position."""
    for _ in range(10):
        world.caller.say()
        await world.settle()
        await world.advance(0.02)
    await world.advance(1.5)
    sender_report = next(p for p in world.caller.rtcp if isinstance(p, SenderReport))
    assert sender_report.packet_count == 10
    assert [block.ssrc for block in sender_report.reports] == [VOICE_SSRC]
    last = world.caller.heard[-1]
    block = ReportBlock(
        last.ssrc, 0, 2, last.sequence, 0, sender_report.ntp_time >> 16 & 0xFFFFFFFF, 0
    )
    world.caller.report(ReceiverReport(VOICE_SSRC, (block,)))
    await world.settle()
    assert world.handle.playouts == [(1, 0, 0, 0), (10, 8, 0, 0)]
    assert world.session.snapshot().round_trip_ms > 0


async def test_the_backend_is_told_what_the_network_costs(world: World) -> None:
    """With an answer that begins and with the caller's reports, never with a packet."""
    world.caller.say()
    await world.settle()
    assert world.handle.networks == [(None, 1, 0.0)]  # the echo began
    world.caller.say(skip=1)
    await world.settle()
    await world.advance(HOLD_S + 0.003)
    world.caller.report(ReceiverReport(VOICE_SSRC, ()))
    await world.settle()
    round_trip_s, packets, waited_s = world.handle.networks[-1]
    assert (round_trip_s, packets) == (None, 2)
    assert waited_s >= HOLD_S
    assert len(world.handle.networks) == 2


async def test_the_backend_may_speak_before_the_caller_is_there() -> None:
    """Frames and messages wait for the caller, then go out paced and in order."""
    world = World(echo=False)
    for index in range(4):
        world.session.on_audio(bytes((0xF8, 0, index)), 960)
    world.session.on_data("oai-events", "welcome")
    await world.advance(1.0)
    assert not world.sent
    await world.connect()
    assert [packet.payload for packet in world.caller.heard] == [b"\xf8\x00\x00"]
    await world.advance(0.1)
    assert len(world.caller.heard) == 4
    assert world.caller.messages == [("oai-events", "welcome")]
    await world.finish()


async def test_the_backend_is_told_when_its_voice_begins_to_leave() -> None:
    """Once a talkspurt: what leaves after a pause is another one."""
    world = await World(echo=False).connect()
    for _ in range(5):
        world.session.on_audio(b"\xf8voice", 960)
    await world.advance(0.5)
    assert [playout[:2] for playout in world.handle.playouts] == [(1, 0)]
    world.session.on_audio(b"\xf8voice", 960)
    await world.advance(0.1)
    assert [playout[:2] for playout in world.handle.playouts] == [(1, 0), (6, 0)]
    await world.finish()


async def test_the_backend_is_told_when_its_voice_begins_anew_after_a_clear() -> None:
    """Though no pause tells it apart on the wire; what follows is told no more."""
    world = await World(echo=False).connect()
    for _ in range(50):
        world.session.on_audio(b"\xf8voice", 960)
    await world.advance(0.05)
    world.session.on_clear()
    cleared = world.handle.playouts[-1]
    told = len(world.handle.playouts)
    for _ in range(5):
        world.session.on_audio(b"\xf8voice", 960)
    await world.advance(0.1)
    (begun,) = world.handle.playouts[told:]
    assert begun[0] == cleared[0] + 1
    await world.finish()


async def test_clear_drops_queued_sound_and_answers_with_the_position(world: World) -> None:
    """What was queued is counted as cleared, and its credit comes back."""
    for _ in range(100):
        world.session.on_audio(b"\xf8voice", 960)
    await world.advance(0.1)
    world.session.on_clear()
    sent, _, cleared, queued = world.handle.playouts[-1]
    assert (sent + cleared, queued) == (100, 0) and 5 <= sent <= 7
    assert 100 - world.handle.credit < CREDIT_LOT


async def test_a_backend_beyond_its_credit_is_refused_not_queued(world: World) -> None:
    """The queue is bounded; refused frames give their credit back like played ones."""
    for _ in range(2 * SEND_CREDIT):
        world.session.on_audio(b"\xf8voice", 960)
    assert world.session.snapshot().queued_frames <= 300
    assert world.counters["audio_refused"] == 2 * SEND_CREDIT - 300 - 1
    world.session.on_clear()
    assert 2 * SEND_CREDIT - world.handle.credit < CREDIT_LOT


async def test_a_caller_that_does_not_listen_is_sent_nothing() -> None:
    """A sendonly offer: the backend's frames are dropped and its credit returns."""
    world = await World(make_offer(receives=False)).connect()
    for _ in range(CREDIT_LOT):
        world.session.on_audio(b"\xf8voice", 960)
    await world.advance(1.0)
    assert not world.caller.heard and world.handle.credit == CREDIT_LOT
    await world.finish()


async def test_without_a_data_section_messages_are_counted() -> None:
    """A backend may always speak; nobody hears it."""
    world = await World(make_offer(data=False)).connect()
    world.session.on_data("oai-events", "nobody")
    assert world.counters["data_not_offered"] == 1
    await world.finish()
    assert world.caller.closed or world.caller.dtls is not None


async def test_an_end_tells_both_sides_and_leaves_nothing() -> None:
    """BYE and close_notify to the caller, CallEnded to the backend, no timer, task or reference."""
    tasks = asyncio.all_tasks()
    world = await World().connect()
    world.caller.say()
    await world.settle()
    world.session.end("hangup")
    world.session.end("failed")
    await world.settle()
    assert any(isinstance(packet, Goodbye) for packet in world.caller.rtcp)
    assert world.caller.closed
    assert (world.handle.closed, world.session.end_reason) == ("hangup", "hangup")
    assert world.calls == ["ended"] and len(world.wheel) == 0
    world.counters.clear()
    world.session.handle_datagram(HOME, b"\x80\x6d" + bytes(40), world.time_s)
    world.caller.check()
    world.session.handle_datagram(HOME, world.caller.out.pop(), world.time_s)
    world.session.on_audio(b"\xf8voice", 960)
    world.session.tick(world.time_s + 100)
    assert not world.sent and world.counters["session_ended"] == 2
    await world.caller.hang_up()
    assert asyncio.all_tasks() == tasks
    gone = weakref.ref(world.session)
    world.link.handles.clear()
    gc.disable()  # a thousand calls that wait for the collector would be a pause of the loop
    try:
        del world.session
        assert gone() is None
    finally:
        gc.enable()


async def test_a_caller_that_closes_ends_the_call(world: World) -> None:
    """close_notify is the caller's hang-up."""
    await world.caller.hang_up()
    await world.settle()
    assert world.handle.closed == "client_closed"


async def test_a_goodbye_of_the_callers_stream_does_not_end_the_call(world: World) -> None:
    """A browser that replaces its track says BYE; another SSRC may follow."""
    world.caller.say()
    world.caller.report(ReceiverReport(VOICE_SSRC), Goodbye((VOICE_SSRC,)))
    world.caller.say()
    await world.settle()
    assert len(world.handle.audio) == 2 and world.session.state is State.CONNECTED


@pytest.mark.parametrize(("reason", "told"), [("timeout", "timeout"), ("bored now", "hangup")])
async def test_the_backend_can_hang_up(world: World, reason: str, told: str) -> None:
    """Its reason is one of ours, or plainly a hang-up."""
    world.session.on_hang_up(reason)
    assert world.handle.closed == told


async def test_a_backend_that_is_replaced_tells_the_caller(world: World) -> None:
    """Of a hang-up that nobody on the line wanted the caller reads why, before the end."""
    world.session.on_hang_up("drained")
    await world.settle()
    await world.advance(FAREWELL_S / 2)
    ((label, text),) = world.caller.messages
    assert label == "oai-events" and isinstance(text, str)
    assert json.loads(text)["error"]["code"] == "drained"
    await world.advance(FAREWELL_S)
    assert world.session.end_reason == "drained"


async def test_a_lost_backend_is_told_to_the_caller_before_the_end(world: World) -> None:
    """An error event on oai-events, a moment for it to leave, then the end."""
    world.session.on_backend_lost()
    await world.settle()
    await world.advance(FAREWELL_S / 2)
    ((label, text),) = world.caller.messages
    assert label == "oai-events" and isinstance(text, str)
    assert json.loads(text)["error"]["code"] == "backend_lost"
    assert world.session.state is State.CONNECTED
    await world.advance(FAREWELL_S)
    await world.settle()
    assert world.session.end_reason == "failed" and world.caller.closed


@pytest.mark.parametrize("reason", ["drained", "operator", "budget"])
async def test_a_dismissed_caller_is_told_why(world: World, reason: str) -> None:
    """The reason as an error event on oai-events, once; then the call ends with it."""
    world.session.dismiss(reason)
    world.session.dismiss("drained")
    await world.settle()
    await world.advance(FAREWELL_S / 2)
    ((label, text),) = world.caller.messages
    assert label == "oai-events" and isinstance(text, str)
    error = json.loads(text)["error"]
    assert (error["code"], error["message"]) == (reason, FAREWELLS[reason])
    assert world.session.state is State.CONNECTED
    await world.advance(FAREWELL_S)
    assert world.session.end_reason == world.handle.closed == reason


async def test_a_caller_who_never_came_is_dismissed_at_once() -> None:
    """There is nobody to tell."""
    world = World()
    world.session.dismiss("drained")
    assert world.session.end_reason == "drained"
    assert world.session.state is State.ENDED


async def test_nobody_comes_and_the_session_ends() -> None:
    """A session that is not connected in time lets everything go."""
    world = World()
    await world.advance(CONNECT_TIMEOUT_S - 0.1)
    assert world.session.state is State.NEW
    await world.advance(0.2)
    assert world.handle.closed == "timeout" and world.calls == ["ended"]


async def test_dtls_that_never_finishes_ends_the_session() -> None:
    """Checks alone do not keep a session: the handshake has the same time."""
    world = World()
    for _ in range(14):
        world.caller.check()
        world.session.handle_datagram(HOME, world.caller.out.pop(), world.time_s)
        world.sent.clear()
        until_s = world.time_s + 2.5
        while (next_s := world.wheel.next_s()) is not None and next_s <= until_s:
            world.time_s = next_s
            for session in world.wheel.expire(next_s):
                session.tick(next_s)
        world.time_s = until_s
    assert world.session.state is State.ENDED and world.handle.closed == "timeout"


async def test_a_lost_hello_of_ours_is_repeated() -> None:
    """Where we are the DTLS client nothing comes before our hello, so only time repeats it."""
    world = World(make_offer("client"))
    world.caller.check()
    world.session.handle_datagram(HOME, world.caller.out.pop(), world.time_s)
    world.sent.clear()  # the network loses the answer and the hello
    world.caller.start_dtls(world.time_s)
    await world.advance(RETRANSMIT_S + 0.1)
    world.caller.check()  # it goes on asking, and so may be sent more
    await world.settle()
    assert world.session.state is State.CONNECTED
    await world.finish()


async def test_a_wrong_certificate_ends_the_call() -> None:
    """Who does not hold the key of the offer's fingerprint gets no keys."""
    offer = make_offer("server")
    world = World(offer)
    world.caller.check()
    await world.settle()
    world.session._transport._dtls._identity._values = {"00"}  # type: ignore[union-attr]
    world.caller.start_dtls(world.time_s)
    with pytest.raises(AssertionError, match="Failed"):
        await world.settle()
    assert world.session.state is State.ENDED
    assert world.counters["dtls_failed_fingerprint_mismatch"] == 1
    assert not any(isinstance(event, Connected) for event in world.caller.events)


async def test_a_caller_that_vanishes_ends_the_call(world: World) -> None:
    """Consent ends `CONSENT_S` after the last check (RFC 7675)."""
    await world.advance(CONSENT_S - 1)
    assert world.session.state is State.CONNECTED
    await world.advance(1.1)
    assert world.handle.closed == "timeout"
    assert world.counters["ice_consent_expired"] == 1


async def test_an_address_taken_by_another_session_is_forgotten(world: World) -> None:
    """With no address left, sound is counted and goes nowhere."""
    world.session.forget_address(HOME)
    world.session.on_audio(b"\xf8voice", 960)
    assert not world.sent and world.counters["no_selected_address"] == 1


def test_waiting_messages_are_bounded_in_number_and_size() -> None:
    """A message beyond a bound is refused, and room comes back when messages are taken."""
    waiting = WaitingMessages()
    assert all(waiting.add("a", "x") for _ in range(MAX_MESSAGES))
    assert not waiting.add("a", "x")
    assert waiting.take("b") == [] and len(waiting.take("a")) == MAX_MESSAGES
    assert waiting.add("a", bytes(MAX_BYTES - 1)) and not waiting.add("b", b"")
    assert len(waiting) == 1


async def test_addresses_of_a_restless_caller_stay_bounded(world: World) -> None:
    """The host hears of each address that gave way."""
    for index in range(100):
        world.address = pack_address("198.51.100.1", 1000 + index)
        world.caller.check(nominate=False)
        await world.settle()
    assert len(world.paths) == 32
    world.address = HOME
