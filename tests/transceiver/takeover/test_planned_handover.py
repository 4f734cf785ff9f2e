"""A call that moves from one engine to another: the caller goes on and notices nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.transceiver.caller import HOME, FakeLink
from tests.transceiver.engine.test_engine import (  # noqa: F401 - fixtures
    LOOPBACK,
    Relay,
    connect,
    converse,
    make_engine,
    until,
)
from transceiver.call.principal import Principal
from transceiver.call.session import Session
from transceiver.call.states import State
from transceiver.data.channels import DataChannels
from transceiver.engine.engine import Engine
from transceiver.engine.refusals import Draining, TooManyCalls
from transceiver.link.errors import BackendAbsent
from transceiver.takeover.session_state import (
    SECOND_OLD,
    STOPPED_BEFORE,
    Reserve,
    SessionState,
    read,
    write,
)

EVENTS = "oai-events"


PAGE = Principal("acme", "k_1", "secret", ("instructions",))


class Move:
    """Two engines, one relay, and a connected caller who is on the first."""

    def __init__(self, first: Engine, second: Engine) -> None:
        self.first, self.second, self.second_link = first, second, FakeLink()

    async def start(self) -> None:
        address = await self.first.start(LOOPBACK)
        self.there = await self.second.start(LOOPBACK)
        self.relay = Relay(address)
        self.session, self.caller = await connect(self.first, self.relay)

    def channels(self) -> DataChannels:
        assert self.caller.channels is not None
        return self.caller.channels

    async def talk(self, frames: int = 5) -> None:
        """Speak frames one after another and hear each come back, with a message beside."""
        heard, told = len(self.caller.heard), len(self.caller.messages)
        for number in range(frames):
            self.caller.say(b"\xf8voice %d" % number)
            await self.until(lambda n=number: len(self.caller.heard) == heard + n + 1)  # type: ignore[misc]
        self.channels().send(EVENTS, f"after {heard}")
        await self.until(lambda: len(self.caller.messages) == told + 1)
        assert self.caller.messages[-1] == (EVENTS, f"after {heard}")

    async def until(self, done: Callable[[], bool]) -> None:
        await converse(self.relay, self.caller, done)

    def adopt(self, state: SessionState, reserve: Reserve = STOPPED_BEFORE) -> Session:
        """Go on with the call on the second engine."""
        return self.second.adopt(state, self.second_link.as_link(), reserve)

    def re_point(self) -> None:
        """What the relay does when it hears of the move."""
        self.relay.target = (self.there.host, self.there.port)


@pytest.fixture
async def move(make_engine: Callable[..., Engine]) -> Move:  # noqa: F811
    made = Move(make_engine(), make_engine())
    await made.start()
    return made


@pytest.fixture(autouse=True)
def _close_relay(request: pytest.FixtureRequest) -> None:
    if "move" in request.fixturenames:
        made = request.getfixturevalue("move")
        request.addfinalizer(made.relay.socket.close)


async def test_a_call_goes_on_elsewhere(move: Move) -> None:
    """Sound and messages go on both ways with the same keys, numbers and channel, and whose call it
    is goes with it."""
    await move.talk()
    move.session.placed_by = PAGE
    state = move.first.hand_over(move.session.call_id)
    assert state is not None
    session = move.adopt(read(write(state)))
    assert session.placed_by == PAGE
    move.re_point()
    await move.talk()
    sequences = [packet.sequence for packet in move.caller.heard]
    assert sequences == list(range(sequences[0], sequences[0] + 10))
    assert {packet.ssrc for packet in move.caller.heard} == {session.ssrc}
    snapshot = session.snapshot()
    assert (snapshot.packets_received, snapshot.packets_sent, snapshot.packets_lost) == (10, 10, 0)
    assert (snapshot.messages_received, snapshot.state) == (2, "connected")
    assert move.second.counters["srtp_replay"] == 0


async def test_the_old_owner_is_silent(move: Move) -> None:
    """Nothing of the call is left there, and it says no goodbye."""
    state = move.first.hand_over(move.session.call_id)
    assert state is not None
    assert move.first.find(move.session.call_id) is None
    assert move.first.hand_over(move.session.call_id) is None
    assert move.session.state is State.ENDED
    assert (move.session.end_reason, move.session.addresses) == ("moved", (HOME,))
    move.adopt(state)
    move.re_point()
    await move.talk(1)
    assert not move.caller.closed
    assert move.caller.rtcp == []


async def test_checks_and_restarts_reach_the_new_owner(move: Move) -> None:
    """The old ufrag still authenticates, and new credentials can be made."""
    state = move.first.hand_over(move.session.call_id)
    assert state is not None
    session = move.adopt(state)
    move.re_point()
    answered = len(move.caller.responses)
    move.caller.check()
    await move.until(lambda: len(move.caller.responses) == answered + 1)
    assert session.local_ufrag == move.caller.ufrag
    move.caller.ufrag, move.caller.password = session.restart_ice("caller2", "c" * 24)  # type: ignore[misc]
    move.caller.remote_ufrag = "caller2"
    move.caller.check()
    await move.until(lambda: len(move.caller.responses) == answered + 2)
    await move.talk(1)


async def test_the_caller_may_hang_up_there(move: Move) -> None:
    """A close_notify after the move ends the call at its new owner."""
    state = move.first.hand_over(move.session.call_id)
    assert state is not None
    session = move.adopt(state)
    move.re_point()
    await move.talk(1)
    await move.caller.hang_up()
    for packet in move.caller.out:
        move.relay.up((HOME, packet))
    await until(lambda: session.end_reason == "client_closed")


async def test_a_message_under_way_arrives_once(move: Move) -> None:
    """What SCTP sent and nobody acknowledged, and what it had not sent yet, come after the move."""
    move.session.on_data(EVENTS, "lost")
    while not {to for to, _ in await move.relay.down()}:  # the packet ends here
        pass
    move.session.on_data(EVENTS, "not sent")
    state = move.first.hand_over(move.session.call_id)
    assert state is not None
    assert state.sctp is not None
    assert [chunk.data for chunk in state.sctp.unacknowledged] == [b"lost"]
    assert [message.data for message in state.sctp.unsent] == [b"not sent"]
    move.adopt(state)
    move.re_point()
    await move.until(lambda: len(move.caller.messages) == 2)
    await move.talk(1)
    assert [content for _, content in move.caller.messages[:2]] == ["lost", "not sent"]
    assert len(move.caller.messages) == 3


async def test_queued_sound_is_played_by_the_new_owner(move: Move) -> None:
    """Frames that wait for their turn move along; those of another format do not."""
    for _ in range(10):
        move.session.on_audio(b"\xf8queued", 960)
    state = move.first.checkpoint(move.session.call_id)
    assert state is not None
    assert move.session.snapshot().queued_frames == len(state.audio.send.queue) == 9
    moved = move.adopt(state)
    assert 8 <= moved.snapshot().queued_frames <= 9
    moved.end("hangup")
    other = replace(state, link=replace(state.link, audio_format=3))
    assert move.adopt(other).snapshot().queued_frames == 0


async def test_a_checkpoint_is_enough(move: Move) -> None:
    """An owner that died after its checkpoint sent more: reserved numbers keep all keys safe."""
    await move.talk(1)
    state = move.first.checkpoint(move.session.call_id)
    assert state is not None
    before = len(move.caller.heard)
    for number in range(5):  # after the checkpoint, by the owner that is about to die
        move.caller.say()
        await move.until(lambda n=number: len(move.caller.heard) == before + n + 1)  # type: ignore[misc]
    move.channels().send(EVENTS, "since")
    await move.until(lambda: move.caller.messages[-1][1] == "since")
    session = move.adopt(read(write(state)), SECOND_OLD)
    move.re_point()
    await move.talk(3)
    sequences = [packet.sequence for packet in move.caller.heard]
    assert len(set(sequences)) == len(sequences)
    jumped = sequences[before + 5] - sequences[before - 1]
    assert jumped == SECOND_OLD.rtp_packets + 1
    assert session.snapshot().packets_received >= 4
    move.first.hand_over(move.session.call_id)


@pytest.mark.parametrize("reserve", [STOPPED_BEFORE, Reserve(rtp_packets=5)])
async def test_a_call_may_move_often(move: Move, reserve: Reserve) -> None:
    """There and back again, ten times, with the state of a state."""
    engines = [move.first, move.second]
    call_id = move.session.call_id
    addresses = [move.relay.target, (move.there.host, move.there.port)]
    for number in range(10):
        state = engines[number % 2].hand_over(call_id)
        assert state is not None
        engines[(number + 1) % 2].adopt(read(write(state)), FakeLink().as_link(), reserve)
        move.relay.target = addresses[(number + 1) % 2]
        await move.talk(2)


async def test_who_cannot_adopt(move: Move, make_engine: Callable[..., Engine]) -> None:  # noqa: F811
    """A full, draining or lonely engine, a call twice, an unknown cipher: refused, nothing kept."""
    state, link = move.first.checkpoint(move.session.call_id), FakeLink().as_link()
    assert state is not None
    with pytest.raises(ValueError, match="here already"):
        move.first.adopt(state, link)
    lonely, full, draining = make_engine(), make_engine(max_calls=0), move.second
    with pytest.raises(BackendAbsent):
        lonely.adopt(state, FakeLink(ready=False).as_link())
    assert not lonely.calls()
    with pytest.raises(TooManyCalls):
        full.adopt(state, link)
    bad = replace(state, dtls=replace(state.dtls, cipher="NULL"))
    with pytest.raises(ValueError, match="AES-GCM"):
        draining.adopt(bad, link)
    draining.draining = True
    with pytest.raises(Draining):
        draining.adopt(state, link)
    for engine in (lonely, full, draining):
        assert not engine.calls()
        assert not engine._ufrags
        assert len(engine._alarm.wheel) == 0


async def test_only_a_connected_call_moves(make_engine: Callable[..., Engine]) -> None:  # noqa: F811
    """A call nobody has come to cannot be exported, and neither can one that is not there."""
    from tests.transceiver.engine.test_engine import make_call

    engine = make_engine()
    session, _ = make_call(engine)
    assert engine.hand_over(session.call_id) is None
    assert engine.checkpoint("rtc_nobody") is None
    with pytest.raises(RuntimeError):
        session.export(0.0, lambda _: b"")
