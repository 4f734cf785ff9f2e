"""Calls between two owners: silent here or there, and nothing that comes meanwhile is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.transceiver.caller import AWAY, HOME, FakeHandle, FakeLink, fault
from tests.transceiver.engine.test_engine import (  # noqa: F401 - fixtures
    LOOPBACK,
    ROUTE,
    Relay,
    connect,
    converse,
    make_engine,
    until,
)
from transceiver.call.states import State
from transceiver.engine.between import NewOwner
from transceiver.engine.engine import Engine
from transceiver.link.errors import BackendAbsent
from transceiver.takeover import held_events, held_frames
from transceiver.takeover.session_state import SessionState, read, write
from wire import trunk
from wire.address import pack_address
from wire.claim import read as read_claim
from wire.claim import sender
from wire.token import Route

EVENTS = "oai-events"


class Pair:
    """Two engines of different nodes, a relay that follows claims, and a caller on the first."""

    def __init__(self, first: Engine, second: Engine) -> None:
        self.first, self.second = first, second
        self.first.route, self.second.route = ROUTE, Route(ROUTE.cluster, 18, 6)
        self.second_link = FakeLink()

    async def start(self) -> Pair:
        here, there = await self.first.start(LOOPBACK), await self.second.start(LOOPBACK)
        self.relay = Relay(here)
        self.session, self.caller = await connect(self.first, self.relay)
        self.to = NewOwner(sender(18, 6), pack_address(there.host, there.port))
        self.relay.nodes = {
            sender(ROUTE.node, ROUTE.epoch): (here.host, here.port),
            self.to.sender: (there.host, there.port),
        }
        return self

    @property
    def handle(self) -> FakeHandle:
        """The backend's side of the call, at its first owner."""
        handle = self.session.handle
        assert isinstance(handle, FakeHandle)
        return handle

    def hold(self) -> SessionState:
        state = self.first.between.hold(self.session)
        assert state is not None
        return read(write(state))

    def prepare(self) -> SessionState:
        state = self.hold()
        self.second.between.prepare(state, self.second_link.as_link())
        self.second.between.passes_on(self.first.between.owner)
        return state

    def speak(self, count: int = 1) -> None:
        """The caller's frames leave now."""
        for _ in range(count):
            self.caller.say(b"\xf8voice %d" % self.caller.sequence)
        for packet in self.caller.out:
            self.relay.up((HOME, packet))
        self.caller.out.clear()

    async def kind_of_next(self) -> trunk.FrameType:
        """What comes down next, of whatever kind."""
        data = await asyncio.get_running_loop().sock_recv(self.relay.socket, 2048)
        self.last = trunk.read(self.relay.tagger, data)
        return self.last.first

    async def until(self, done: Callable[[], bool]) -> None:
        await converse(self.relay, self.caller, done)

    async def talk(self, frames: int = 3) -> None:
        heard = len(self.caller.heard)
        for number in range(frames):
            self.caller.say(b"\xf8voice %d" % self.caller.sequence)
            await self.until(lambda n=number: len(self.caller.heard) > heard + n)  # type: ignore[misc]


@pytest.fixture
async def pair(make_engine: Callable[..., Engine]) -> AsyncIterator[Pair]:  # noqa: F811
    made = await Pair(make_engine(), make_engine()).start()
    yield made
    made.relay.socket.close()


async def quiet(pair: Pair) -> list[trunk.Datagram]:
    """What of the call comes down while both engines have had every turn they could want."""
    for _ in range(50):
        await asyncio.sleep(0)
    came = []
    try:
        while True:
            came.append(trunk.read(pair.relay.tagger, pair.relay.socket.recv(2048)))
    except BlockingIOError:
        return [datagram for datagram in came if datagram.first not in trunk.CONTROL]


async def test_a_held_call_is_silent_and_goes_on(pair: Pair) -> None:
    """Neither caller nor backend hears a word; after it both hear everything, in order."""
    await pair.talk()
    pair.hold()
    said = len(pair.handle.audio)
    pair.speak(3)
    for number in range(3):
        pair.handle.sink.on_audio(b"\xf8answer %d" % number, 960)
        pair.handle.sink.on_data(EVENTS, f"event {number}")
    assert await quiet(pair) == []
    assert len(pair.handle.audio) == said
    heard = len(pair.caller.heard)
    assert pair.first.between.release(pair.session)
    await pair.until(lambda: len(pair.caller.heard) == heard + 6 and len(pair.caller.messages) == 3)
    assert [text for _, text in pair.caller.messages] == ["event 0", "event 1", "event 2"]
    assert len(pair.handle.audio) == said + 3
    assert not pair.first.between.release(pair.session)


async def test_the_new_owner_goes_on_with_what_came_meanwhile(pair: Pair) -> None:
    """Frames that came to the old owner are passed on, the relay follows the claim, and every
    frame reaches the backend once, in order."""
    await pair.talk()
    heard, first = len(pair.caller.heard), [a[0] for a in pair.handle.audio]
    pair.speak(2)  # on its way while the call is held
    state = pair.prepare()
    pair.speak(2)
    assert await quiet(pair) == []
    pair.first.between.hand_off(pair.session, pair.to)
    pair.speak(2)
    session = pair.second.between.go_live(state.call_id)
    assert session.state is State.CONNECTED
    await pair.until(lambda: len(pair.caller.heard) == heard + 6)
    await pair.until(lambda: not pair.second._claiming._claims.unanswered)
    assert {claim.owner for claim in pair.relay.claims} == {pair.to.sender}
    assert pair.relay.target == pair.relay.nodes[pair.to.sender]
    await pair.talk()
    second = [a[0] for a in pair.second_link.handles[-1].audio]
    said = (0xFFF0 + number & 0xFFFF for number in range(len(first) + len(second)))
    assert [*first, *second] == [b"\xf8voice %d" % sequence for sequence in said]
    assert pair.first.counters["move_passed_on"] >= 2
    assert pair.second.counters["srtp_replay"] == 0
    sequences = [packet.sequence for packet in pair.caller.heard]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


async def test_frames_passed_on_show_no_relay(pair: Pair) -> None:
    """The new owner answers by the relay worker that the state names, not by the old owner."""
    relay = pair.first._paths[HOME].relay
    state = pair.prepare()
    pair.first.between.hand_off(pair.session, pair.to)
    pair.second.between.go_live(state.call_id)
    pair.relay.answers, pair.relay.nodes = False, {}  # the worker does not follow
    await pair.talk(5)
    assert pair.second._paths[HOME].relay == relay
    assert pair.first.counters["move_passed_on"] == 5


async def test_a_check_that_still_arrives_is_redirected(pair: Pair) -> None:
    """Also one from an address that nobody knew: the worker is told whose the call is."""
    state = pair.prepare()
    pair.first.between.hand_off(pair.session, pair.to)
    pair.second.between.go_live(state.call_id)
    await pair.until(lambda: not pair.second._claiming._claims.unanswered)
    pair.relay.target = pair.relay.nodes[pair.first.between.owner]
    pair.relay.claims.clear()
    pair.caller.check()
    pair.relay.up((AWAY, pair.caller.out.pop()))
    pair.relay.nodes = {pair.to.sender: pair.relay.nodes[pair.to.sender]}
    await pair.until(lambda: bool(pair.relay.claims))
    assert pair.relay.target == pair.relay.nodes[pair.to.sender]
    pair.caller.check()
    answered = len(pair.caller.responses)
    await pair.until(lambda: len(pair.caller.responses) > answered)


async def test_a_prepared_call_is_forgotten(pair: Pair) -> None:
    """It has cost a place and said nothing, and the old owner goes on."""
    state = pair.prepare()
    assert pair.second.free_places == pair.second.max_calls - 1
    with pytest.raises(ValueError, match="here already"):
        pair.second.between.prepare(state, pair.second_link.as_link())
    assert pair.second.between.forget(state.call_id)
    assert not pair.second.between.forget(state.call_id)
    with pytest.raises(KeyError):
        pair.second.between.go_live(state.call_id)
    assert pair.second.free_places == pair.second.max_calls
    assert not pair.second.between._by_address
    assert not pair.second.between._by_ufrag
    assert not pair.second_link.handles
    pair.first.between.release(pair.session)
    await pair.talk()


async def test_a_call_without_a_backend_does_not_go_live(pair: Pair) -> None:
    """Nothing was sent, so its old owner may go on, and it does."""
    state = pair.prepare()
    pair.second_link.ready = False
    with pytest.raises(BackendAbsent):
        pair.second.between.go_live(state.call_id)
    assert pair.second.calls() == []
    assert await quiet(pair) == []
    pair.first.between.release(pair.session)
    await pair.talk()


async def test_a_call_that_was_taken_over_waits_for_its_relay(pair: Pair) -> None:
    """It says nothing before the worker has answered; what the caller says meanwhile waits."""
    state = pair.hold()
    lost = pair.first.between.owner
    pair.relay.answers = False
    pair.second.between.prepare(state, pair.second_link.as_link(), fenced=lost)
    pair.second.between.go_live_when_claimed(state.call_id, fault)
    pair.relay.target = pair.relay.nodes[pair.to.sender]
    pair.speak(2)
    while (await pair.kind_of_next()) is not trunk.FrameType.CLAIM:
        pass
    assert pair.second.calls() == []
    assert pair.last.first is trunk.FrameType.CLAIM
    [frame] = pair.last.frames
    assert read_claim(*frame).fenced == lost
    heard = len(pair.caller.heard)
    pair.relay.up(frame, kind=trunk.FrameType.CLAIMED)
    await pair.until(lambda: len(pair.caller.heard) == heard + 2)


async def test_a_worker_that_does_not_answer_is_not_waited_for(pair: Pair) -> None:
    """A relay that is older than claims are holds nobody up for long."""
    state = pair.hold()
    pair.relay.answers = False
    pair.second.between.prepare(state, pair.second_link.as_link())
    pair.second.between.go_live_when_claimed(state.call_id, fault)
    assert pair.second.calls() == []
    await until(lambda: len(pair.second.calls()) == 1)


async def test_what_waits_is_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many frames of the caller are dropped and counted; too many of the backend end the
    silence, since nothing of them may be lost."""
    monkeypatch.setattr(held_frames, "MAX_FRAMES", 4)
    monkeypatch.setattr(held_events, "MAX_EVENTS", 4)
    pair.hold()
    pair.speak(6)
    await until(lambda: pair.first.counters["move_waiting_full"] == 2)
    for number in range(4):
        assert pair.session.held
        pair.handle.sink.on_data(EVENTS, f"event {number}")
    assert not pair.session.held
    await pair.until(lambda: len(pair.caller.messages) == 4)


@pytest.mark.parametrize("act", ["dismiss", "end", "restart_ice", "hear_sideband"])
async def test_a_held_call_that_has_to_speak_is_held_no_longer(pair: Pair, act: str) -> None:
    """Then it speaks as ever: whoever moves it sees that, and lets it be."""
    pair.hold()
    arguments = {
        "dismiss": ("operator",),
        "end": ("hangup",),
        "restart_ice": ("caller2", "c" * 24),
        "hear_sideband": ("{}",),
    }
    extra = {"from_server": True} if act == "hear_sideband" else {}
    getattr(pair.session, act)(*arguments[act], **extra)
    assert not pair.session.held
    assert not pair.first.between.held
    if act == "hear_sideband":
        assert pair.handle.messages[-1] == (EVENTS, "{}")
    if act == "dismiss":
        await pair.until(lambda: bool(pair.caller.messages))
    if act == "end":
        await pair.until(lambda: pair.caller.closed)


@pytest.mark.parametrize("name", ["hold", "export"])
async def test_a_call_that_raises_while_it_is_held_ends(pair: Pair, name: str) -> None:
    """It fails by itself, as everywhere, and cannot move."""

    def boom(*_: object) -> None:
        raise ValueError("broken by the test")

    setattr(pair.session, name, boom)
    assert pair.first.between.hold(pair.session) is None
    assert pair.session.end_reason == "failed"
    assert not pair.first.between.held


async def test_a_call_that_raises_when_it_is_released_ends(pair: Pair) -> None:
    """The backend's word that breaks it would have broken it before."""
    pair.hold()
    pair.handle.sink.on_clear()
    pair.session.on_clear = lambda: 1 / 0  # type: ignore[method-assign,assignment]
    assert pair.first.between.release(pair.session)
    assert pair.session.end_reason == "failed"


async def test_an_engine_with_calls_says_that_it_lives(pair: Pair) -> None:
    """To the workers that its calls use."""
    while await pair.kind_of_next() is not trunk.FrameType.ALIVE:
        pass
    assert pair.second._claiming._beat is None
    assert pair.first._claiming._beat is not None


async def test_what_waits_for_a_turn_goes_along(pair: Pair) -> None:
    """A message that came before the call was held, and had no turn yet, is the new owner's."""
    assert pair.caller.channels is not None
    handle = pair.handle
    pair.caller.channels.send(EVENTS, "in the queue")
    for _ in range(5):
        await asyncio.sleep(0)
    for packet in pair.caller.out:
        pair.first._put_off(pair.session, HOME, packet, 12)
    pair.caller.out.clear()
    state = pair.prepare()
    assert len(pair.first._handshakes) == 0
    pair.first.between.hand_off(pair.session, pair.to)
    pair.second.between.go_live(state.call_id)
    await pair.until(lambda: (EVENTS, "in the queue") in pair.second_link.handles[-1].messages)
    assert handle.messages == []
