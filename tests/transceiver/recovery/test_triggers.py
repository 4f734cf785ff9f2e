"""What makes a checkpoint due at once: everything that will not come again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.transceiver.caller import AWAY
from tests.transceiver.engine.test_engine import (  # noqa: F401 - fixtures
    LOOPBACK,
    Relay,
    connect,
    converse,
    engine,
    make_call,
    make_engine,
    make_relay,
    relay,
    until,
)
from transceiver.engine.engine import Engine

EVENTS = "oai-events"


@pytest.fixture
def changed(engine: Engine) -> list[str]:  # noqa: F811
    told: list[str] = []
    engine.listen_changed(told.append)
    return told


async def test_a_caller_who_connects(engine: Engine, relay: Relay, changed: list[str]) -> None:  # noqa: F811
    """And the channels that open then; a checkpoint knows them."""
    session, _ = await connect(engine, relay)
    assert set(changed) == {session.call_id}
    state = engine.checkpoint(session.call_id)
    assert state is not None
    assert state.sctp is not None
    assert [channel.label for channel in state.sctp.channels] == [EVENTS]


async def test_one_more_channel(engine: Engine, relay: Relay, changed: list[str]) -> None:  # noqa: F811
    """Opened in the middle of the call."""
    _, caller = await connect(engine, relay)
    changed.clear()
    assert caller.channels is not None
    caller.channels.open("another")
    await converse(relay, caller, lambda: bool(changed))


async def test_a_message_in_pieces(engine: Engine, relay: Relay, changed: list[str]) -> None:  # noqa: F811
    """While only a part of it is here; and a short one, which the backend has at once, is none."""
    session, caller = await connect(engine, relay)
    changed.clear()
    assert caller.channels is not None
    caller.channels.send(EVENTS, "short")
    await converse(relay, caller, lambda: session.snapshot().messages_received == 1)
    assert not changed
    caller.channels.send(EVENTS, "long" * 2000)
    await converse(relay, caller, lambda: session.snapshot().messages_received == 2)
    assert changed


async def test_new_credentials_and_a_new_path(
    engine: Engine,  # noqa: F811
    relay: Relay,  # noqa: F811
    changed: list[str],
) -> None:
    """An ICE restart, the first check with it, and a check from another address."""
    session, caller = await connect(engine, relay)
    changed.clear()
    credentials = session.restart_ice("caller2", "c" * 24)
    assert changed.pop() == session.call_id
    assert credentials is not None
    caller.ufrag, caller.password = credentials
    caller.remote_ufrag = "caller2"
    for address in (None, AWAY):
        caller.check()
        packet = caller.out.pop()
        relay.up((address or next(iter(session.addresses)), packet))
        await until(lambda: bool(changed))
        changed.clear()
    assert AWAY in session.addresses


async def test_sound_is_nothing_to_hurry_for(
    engine: Engine,  # noqa: F811
    relay: Relay,  # noqa: F811
    changed: list[str],
) -> None:
    """It comes again all the time."""
    _, caller = await connect(engine, relay)
    changed.clear()
    heard = len(caller.heard)
    for number in range(20):
        caller.say()
        await converse(relay, caller, lambda n=number: len(caller.heard) > heard + n)  # type: ignore[misc]
    assert not changed


async def test_a_call_that_may_move_is_not_kept(
    make_engine: Callable[..., Engine],  # noqa: F811
) -> None:
    """While it is held nobody knows whose it is; when it goes on here it is kept at once."""
    made = make_engine()
    there = Relay(await made.start(LOOPBACK))
    session, _ = await connect(made, there)
    told: list[str] = []
    made.listen_changed(told.append)
    assert made.between.hold(session) is not None
    assert made.checkpoint(session.call_id) is None
    assert made.between.release(session)
    assert told == [session.call_id]
    assert made.checkpoint(session.call_id) is not None
    there.socket.close()
