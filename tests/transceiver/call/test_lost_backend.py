"""A session between two backends: what goes on, what is held, what the next one is told."""

from __future__ import annotations

import json

import pytest

from tests.transceiver.call.test_session import World
from tests.transceiver.caller import FakeHandle, make_offer
from transceiver.call.session import FAREWELL_S
from transceiver.call.states import State
from transceiver.call.unheard import HELD_S
from transceiver.call.voice import SEND_CREDIT
from transceiver.call.waiting_messages import MAX_MESSAGES
from transceiver.takeover import session_state

FRAME = b"\xf8" + bytes(20)  # 20 ms of Opus
EVENTS = "oai-events"


@pytest.fixture
async def world() -> World:
    world = await World(echo=False).connect()
    world.restores = True
    world.session.on_accepted()
    return world


def lose(world: World, snapshot: bytes = b"what was said") -> None:
    world.session.on_remember(snapshot)
    world.session.on_backend_lost()


def newcomer(world: World, *, takes: bool = True) -> FakeHandle:
    """The next backend is asked, and takes the call."""
    world.session.ask(world.link.as_link())
    handle = world.link.handles[-1]
    if takes:
        handle.sink.on_accepted()
    return handle


async def test_the_next_backend_is_told_what_was_remembered(world: World) -> None:
    """The newest snapshot, how many it has lost, how long there was none, where the ear was."""
    world.session.on_remember(b"older")
    for _ in range(10):
        world.session.on_audio(FRAME, 960)
    await world.advance(0.1)
    lose(world)
    await world.advance(0.5)
    restored = newcomer(world).restored
    assert restored is not None
    assert (restored.snapshot, restored.losses, restored.gap_ms) == (b"what was said", 1, 500)
    assert restored.playout.sent_frames == 10 and restored.playout.queued_frames == 0


async def test_what_is_queued_is_played_while_nobody_is_there(world: World) -> None:
    """The caller hears the rest of what the lost backend had said, and then the next one."""
    for _ in range(50):
        world.session.on_audio(FRAME, 960)
    await world.advance(0.2)
    lose(world)
    heard = len(world.caller.heard)
    await world.advance(0.4)
    assert len(world.caller.heard) > heard
    handle = newcomer(world)
    handle.sink.on_audio(FRAME, 960)
    await world.advance(1.0)
    assert len(world.caller.heard) == 51
    assert handle.restored and handle.restored.playout.queued_frames > 0


async def test_credit_and_playout_begin_anew(world: World) -> None:
    """What waits of the other's frames is no credit for the next; it comes back as it is played."""
    for _ in range(100):
        world.session.on_audio(FRAME, 960)
    lose(world)
    handle = newcomer(world)
    assert handle.send_credit == SEND_CREDIT - 99
    await world.advance(3.0)
    assert SEND_CREDIT - handle.send_credit - handle.credit < 25
    for _ in range(30):
        handle.sink.on_audio(FRAME, 960)
    await world.advance(1.0)
    handle.sink.on_clear()
    assert handle.playouts[-1] == (30, 0, 0, 0)


async def test_what_the_caller_says_is_held(world: World) -> None:
    """Messages and sound reach the next backend, in order; too old sound counts as lost."""
    lose(world)
    for number in range(int(HELD_S * 50) + 20):
        world.caller.say()
        if number == 5:
            world.caller.channels.send(EVENTS, "meanwhile")  # type: ignore[union-attr]
        await world.settle()
        await world.advance(0.02)
    handle = newcomer(world)
    assert handle.messages == [(EVENTS, "meanwhile")]
    assert len(handle.audio) == HELD_S * 50
    assert handle.audio[0][3] == world.counters["held_sound_dropped"] == 20
    world.caller.say()
    await world.settle()
    assert len(handle.audio) == HELD_S * 50 + 1


async def test_a_backend_that_does_not_take_it_gets_nothing(world: World) -> None:
    """What is held waits for the one that does."""
    lose(world)
    world.session.hear_sideband("{}", from_server=True)
    first = newcomer(world, takes=False)
    first.sink.on_audio(FRAME, 960)
    first.sink.on_data(EVENTS, "too early")
    first.sink.on_hang_up("failed")
    assert world.session.handle is None and not first.messages and not first.audio
    second = newcomer(world)
    assert second.messages == [(EVENTS, "{}")]
    await world.settle()
    assert "too early" not in str(world.caller.messages)


async def test_the_caller_is_told_once_and_notices_nothing_else(world: World) -> None:
    """One event on its channel, when another backend goes on."""
    lose(world)
    await world.advance(0.3)
    assert not world.caller.messages
    newcomer(world)
    await world.settle()
    ((label, text),) = world.caller.messages
    event = json.loads(text)
    assert label == EVENTS and event["type"] == "trunkline.backend_restored"
    assert (event["losses"], event["gap_ms"]) == (1, 300)
    assert world.session.state is State.CONNECTED and not world.session.leaving
    assert world.counters["call_backend_restored"] == 1


async def test_too_many_messages_end_the_call(world: World) -> None:
    """They are never lost in silence: the caller reads that the model is gone."""
    lose(world)
    for _ in range(MAX_MESSAGES + 1):
        world.session.hear_sideband("{}", from_server=False)
    await world.settle()
    await world.advance(2 * FAREWELL_S)
    assert world.session.end_reason == "failed"
    assert world.counters["held_messages_full"] == 1
    assert "backend_lost" in str(world.caller.messages)


async def test_nobody_goes_on(world: World) -> None:
    """The caller reads why, and the call ends; whoever is asked by then is told."""
    lose(world)
    asked = newcomer(world, takes=False)
    world.session.give_up()
    await world.settle()
    await world.advance(2 * FAREWELL_S)
    assert "backend_lost" in str(world.caller.messages)
    assert (world.session.end_reason, asked.closed) == ("failed", "failed")


async def test_who_takes_a_call_that_is_over_is_told() -> None:
    """An answer that comes too late joins nothing."""
    world = await World(echo=False).connect()
    world.restores = True
    world.session.on_accepted()
    lose(world)
    asked = newcomer(world, takes=False)
    world.session.end("hangup")
    asked.sink.on_accepted()
    assert world.session.handle is None and asked.closed == "hangup"


async def test_a_backend_that_never_took_the_call_is_not_replaced() -> None:
    """Then whoever placed the call hears that there is none."""
    world = World(make_offer(), echo=False)
    world.restores = True
    world.session.on_backend_lost()
    assert "backend lost" not in world.calls and world.session.leaving


async def test_the_snapshot_is_in_the_exported_call(world: World) -> None:
    """Whoever takes the call over can restore it, and a state without one can be read."""
    world.session.on_remember(b"\x00\xff")
    state = world.session.export(1.7e9, lambda _: b"")
    written = session_state.write(state)
    assert session_state.read(written).link.remembered == b"\x00\xff"
    older = json.loads(written)
    del older["link"]["remembered"]
    assert session_state.read(json.dumps(older).encode()).link.remembered == b""
