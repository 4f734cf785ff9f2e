"""An address that has not answered gets at most three times what came from it.

The attacker is a caller with a call of its own: it has the credentials, and after a handshake at
its own address the keys. It sends what it likes with the source address of somebody else, the
target, and reads nothing of what is sent there.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest

from tests.transceiver.call.test_session import World
from tests.transceiver.caller import AWAY, HOME, make_offer
from transceiver.call.session import CONNECT_TIMEOUT_S, FAREWELL_S
from transceiver.call.states import State
from transceiver.transport.ice import CONSENT_S
from transceiver.transport.path import MAX_AMPLIFICATION
from wire.rtcp import ReceiverReport
from wire.stun import MessageClass, Method, write

TARGET = AWAY


class Attack(World):
    """A world that keeps account of the target, and fails with the first byte too many."""

    def __init__(self, role: str = "client") -> None:
        self.forged_bytes = self.hit_bytes = 0
        super().__init__(make_offer(role), echo=False)

    def transmit(self, address: bytes, packet: bytes) -> None:
        super().transmit(address, packet)
        if address == TARGET:
            self.hit_bytes += len(packet)
            assert self.hit_bytes <= MAX_AMPLIFICATION * self.forged_bytes

    def forge(self, *, times: int = 1) -> None:
        """Send what the attacker has to say from the target's address."""
        packets, self.caller.out = self.caller.out * times, []
        for packet in packets:
            self.forged_bytes += len(packet)
            self.session.handle_datagram(TARGET, packet, self.time_s)

    def forge_check(self, *, nominate: bool = True) -> None:
        self.caller.check(nominate=nominate)
        self.forge()

    def hear(self) -> None:
        """The attacker reads what was sent to its own address."""
        sent, self.sent = self.sent, []
        for address, packet in sent:
            if address == HOME:
                self.caller.receive(packet, self.time_s)

    async def speak(self, seconds: float) -> None:
        """The backend speaks, in large frames, and sends messages."""
        for _ in range(round(seconds / 0.02)):
            self.session.on_audio(b"\xf8" + bytes(600), 960)
            self.session.on_data("oai-events", "x" * 2000)
            await self.advance(0.02)


async def checks_alone(attack: Attack) -> None:
    """Checks, and nothing else, until the set-up has timed out."""
    for _ in range(20):
        attack.forge_check(nominate=False)
    await attack.advance(CONNECT_TIMEOUT_S + 1)


async def one_check(attack: Attack) -> None:
    """One check; the repetitions of the handshake go on for half a minute."""
    attack.forge_check()
    await attack.advance(CONNECT_TIMEOUT_S + 1)


async def check_and_hello(attack: Attack) -> None:
    """The first flight of a handshake, repeated."""
    attack.forge_check()
    attack.caller.start_dtls(attack.time_s)
    hello = list(attack.caller.out)
    for _ in range(5):
        attack.caller.out = list(hello)
        attack.forge()
        await attack.advance(1)
    await attack.advance(CONNECT_TIMEOUT_S)


async def moved_in_the_handshake(attack: Attack) -> None:
    """The handshake begins at home, goes on from the target, and ends at home."""
    attack.caller.check()
    attack.session.handle_datagram(HOME, attack.caller.out.pop(), attack.time_s)
    attack.hear()
    attack.caller.start_dtls(attack.time_s)
    flight, attack.caller.out = attack.caller.out, []
    attack.forge_check()
    attack.caller.out = flight
    attack.forge()
    attack.sent.clear()
    while attack.session.state is not State.CONNECTED:
        attack.caller.check()
        await attack.settle()
        await attack.advance(1)
    attack.forge_check()
    await attack.speak(2)


async def nominated_afterwards(attack: Attack) -> None:
    """A call at home; then one nomination."""
    await attack.connect()
    attack.forge_check()
    assert attack.session._ice.selected == TARGET
    await attack.speak(5)


async def with_sound(attack: Attack) -> None:
    """The same, and authentic sound and reports from the target's address."""
    await attack.connect()
    attack.forge_check()
    for _ in range(100):
        attack.caller.say(b"\xf8")
        attack.caller.report(ReceiverReport(1, ()))
        attack.forge()
        await attack.speak(0.02)


async def with_messages(attack: Attack) -> None:
    """The same with authentic SCTP: what is acknowledged from there is sent from there."""
    await attack.connect()
    attack.forge_check()
    for number in range(50):
        assert attack.caller.channels is not None
        attack.caller.channels.send("oai-events", f"message {number}")
        attack.forge()
        await attack.speak(0.04)


async def with_repeated_checks(attack: Attack) -> None:
    """A nomination every tenth of a second keeps consent; our own checks are not answered."""
    await attack.connect()
    for _ in range(30):
        attack.forge_check()
        await attack.speak(0.1)


async def with_guessed_responses(attack: Attack) -> None:
    """Responses to our checks, with ids that were guessed."""
    await attack.connect()
    attack.forge_check()
    chance = random.Random(7)
    for _ in range(50):
        attack.caller.out.append(
            write(Method.BINDING, MessageClass.SUCCESS, chance.randbytes(12), (), "c" * 24)
        )
        attack.forge()
        await attack.speak(0.02)
    assert attack.counters["ice_unasked_response"] == 50


async def response_from_elsewhere(attack: Attack) -> None:
    """The right id, from the wrong address: only who is asked can answer."""
    await attack.connect()
    attack.forge_check()
    asked = attack.session._ice.paths[TARGET].transaction_id
    attack.caller.out.append(write(Method.BINDING, MessageClass.SUCCESS, asked, (), "c" * 24))
    await attack.settle()
    await attack.speak(1)


async def restarted_there(attack: Attack) -> None:
    """An ICE restart whose first check has the target's address."""
    await attack.connect()
    fresh = attack.session.restart_ice("caller2", "p" * 24)
    assert fresh is not None
    attack.caller.ufrag, attack.caller.password = fresh
    attack.caller.remote_ufrag = "caller2"
    attack.forge_check(nominate=False)
    await attack.speak(3)


async def many_times(attack: Attack) -> None:
    """Away and back again: each time counts with what went before."""
    await attack.connect()
    for _ in range(20):
        attack.forge_check()
        await attack.speak(0.1)
        attack.caller.check()
        await attack.settle()
        await attack.speak(0.1)


ATTACKS: dict[str, Callable[[Attack], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (
        *(checks_alone, one_check, check_and_hello, moved_in_the_handshake),
        *(nominated_afterwards, with_sound, with_messages, with_repeated_checks),
        *(with_guessed_responses, response_from_elsewhere, restarted_there, many_times),
    )
}
ENDS: dict[str, Callable[[Attack], object]] = {
    "hung up": lambda attack: attack.session.end("hangup"),
    "dismissed": lambda attack: attack.session.dismiss("operator"),
    "backend lost": lambda attack: attack.session.on_backend_lost(),
    "closed by the caller": lambda attack: attack.caller.dtls and attack.caller.dtls.close(),
    "left alone": lambda attack: None,
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_forged_source_gets_little(attack: str, role: str, end: str) -> None:
    """At every step of a set-up, of a call and of its end."""
    world = Attack(role)
    await ATTACKS[attack](world)
    world.forge_check()
    assert world.hit_bytes > 0
    ENDS[end](world)
    if world.caller.dtls is not None:
        world.caller.pump(world.time_s)
    world.forge()
    await world.advance(FAREWELL_S + CONSENT_S + 1)
    assert world.session.state is State.ENDED


# Those who are there lose nothing by it.


@pytest.mark.parametrize("role", ["client", "server"])
async def test_an_honest_handshake_proves_its_address(role: str) -> None:
    """Nothing is held back, and no check of ours is needed."""
    world = await World(make_offer(role)).connect()
    assert world.session._ice.paths[HOME].answered
    assert world.caller.checked == 0 and world.counters["out_unanswered"] == 0
    await world.finish()


async def test_a_rebound_caller_is_asked_once_and_hears_all() -> None:
    """One check from the new address, one of ours, its answer: then there is no limit."""
    world = await World(echo=False).connect()
    world.address = AWAY
    world.caller.check()
    await world.settle()
    assert world.caller.checked == 1 and world.session._ice.paths[AWAY].answered
    for _ in range(50):
        world.session.on_audio(b"\xf8" + bytes(600), 960)
        await world.advance(0.02)
    world.session.on_data("oai-events", "x" * 20_000)
    await world.advance(1)
    await world.settle()
    assert len(world.caller.heard) == 50 and world.caller.messages != []
    assert world.counters["out_unanswered"] == 0
    await world.finish()


async def test_a_caller_that_answers_no_checks_is_heard_and_hears() -> None:
    """After a rebinding: sound both ways is within the limit, message for message."""
    world = await World(echo=False).connect()
    world.caller.remote_password = "another, so it answers none"
    world.address = AWAY
    world.caller.check()
    await world.settle()
    for _ in range(100):
        world.caller.say(b"\xf8" + bytes(60))
        await world.settle()
        world.session.on_audio(b"\xf8" + bytes(80), 960)
        await world.advance(0.02)
    await world.settle()
    assert not world.session._ice.paths[AWAY].answered
    assert len(world.caller.heard) == 100
    await world.finish()


async def test_what_waits_leaves_when_more_comes() -> None:
    """A flight that is longer than what may be sent leaves with the caller's next check."""
    world = World(make_offer("server"))
    world.caller.check()
    await world.settle()
    world.session._ice.paths[HOME].allowance_bytes = 0
    world.caller.start_dtls(world.time_s)
    await world.settle()
    assert world.session.state is State.CONNECTING
    for _ in range(3):
        world.caller.check()
    await world.settle()
    assert world.session.state is State.CONNECTED
    await world.finish()
