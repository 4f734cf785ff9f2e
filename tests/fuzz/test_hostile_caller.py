"""Callers with valid keys send the worst they can; the call next door keeps every frame.

`TRUNKLINE_FUZZ_PACKETS=2000000 pytest tests/fuzz/test_hostile_caller.py --timeout 0` is the long
run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from tests.fuzz.hostile_caller import HostileCaller
from tests.fuzz.street import FRAME_S, Neighbour, Street, addresses, residue
from tests.transceiver.caller import CALLER_CERTIFICATE, OUR_CERTIFICATE, Caller, make_offer
from tests.virtual_time import Run
from transceiver.call.states import State
from transceiver.engine.handshakes import MAX_WAITING_PER_CALL
from transceiver.transport.dtls import DtlsAssociation, Role
from trunkline.v1 import model_pb2
from wire.address import pack_address

PACKETS = int(os.environ.get("TRUNKLINE_FUZZ_PACKETS", "12000"))
HOSTILE = 4
ACTS_PER_FRAME = 10
FORMATS = (model_pb2.AUDIO_FORMAT_OPUS, model_pb2.AUDIO_FORMAT_PCM16_16000)
OUR_FINGERPRINT = OUR_CERTIFICATE.fingerprint


class Siege:
    """A street where all but one call are hostile; who is thrown out comes again."""

    def __init__(self, seed: int) -> None:
        self.chance = HostileCaller.chance = random.Random(seed)
        self.street = Street()
        self.calls = 0

    async def begin(self) -> None:
        self.neighbour = await Neighbour.moves_in(self.street)
        for address in addresses(HOSTILE):
            await self.come(address)

    async def come(self, address: bytes) -> None:
        role = self.chance.choice(("client", "server"))
        audio_format = self.chance.choice(FORMATS)
        await self.street.move_in(address, HostileCaller, role, audio_format)
        self.calls += 1

    async def frame(self, act: Callable[[HostileCaller], None]) -> None:
        """Twenty milliseconds: the neighbour speaks, every hostile caller acts."""
        street = self.street
        self.neighbour.speak()
        for address in addresses(HOSTILE):
            caller = street.callers[address]
            assert isinstance(caller, HostileCaller)
            for _ in range(ACTS_PER_FRAME):
                act(caller)
        await street.step(FRAME_S)

    async def replace_the_fallen(self) -> None:
        for address in addresses(HOSTILE):
            path = self.street.engine._paths.get(address)
            channels = None if path is None else path.session._messages.channels
            if path is None or channels is None or channels._association.ended:
                await self.come(address)

    async def end(self) -> None:
        """Silence until what was under way is over, then the engine closes."""
        for _ in range(20):
            await self.street.step(FRAME_S)
        complaints = self.neighbour.complaints()
        await self.street.engine.close()
        assert not complaints
        assert len(self.neighbour.sent) > 20
        left = residue(self.street)
        del left["tasks"]
        assert not +left


ACTS = {
    "everything": HostileCaller.attack,
    "rtp": HostileCaller.wild_rtp,
    "rtp_mutated": HostileCaller.mutated_rtp,
    "rtcp": HostileCaller.wild_reports,
    "rtcp_mutated": HostileCaller.mutated_rtcp,
    "sctp": HostileCaller.wild_chunks,
    "sctp_mutated": HostileCaller.mutated_sctp,
    "dtls": HostileCaller.stray_records,
    "dtls_mutated": HostileCaller.mutated_dtls,
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_hostile_callers_next_door(run: Run, act: Callable[[HostileCaller], None]) -> None:
    """Nothing raises, nothing is left, and the neighbour hears and is heard, frame by frame."""

    async def siege() -> None:
        here = Siege(seed=11)
        await here.begin()
        for _ in range(max(30, PACKETS // (len(ACTS) * HOSTILE * ACTS_PER_FRAME))):
            await here.frame(act)
            await here.replace_the_fallen()
        await here.end()

    run(siege())


class Knocker(Caller):
    """Checks like anybody, then begins a DTLS handshake with every datagram and ends none."""

    def knock(self, count: int, now: float) -> None:
        for _ in range(count):
            hello = DtlsAssociation(Role.CLIENT, CALLER_CERTIFICATE, [OUR_FINGERPRINT], now)
            self.out.append(hello.poll_transmit() or b"")

    def receive(self, packet: bytes, now: float) -> None:
        """Answer nothing."""


def test_a_flood_of_client_hellos(run: Run) -> None:
    """Hundreds of hellos a second wait behind the sound; who means it is connected meanwhile."""

    async def flood() -> None:
        street = Street()
        neighbour = await Neighbour.moves_in(street)
        for address in addresses(HOSTILE):
            offer = make_offer("server")
            session = street.engine.create_call(offer, "whip", "", street.link.as_link())
            caller = Knocker(offer, session.local_ufrag, session.local_password)
            caller.check()
            street.callers[address] = caller
        for _ in range(25):
            neighbour.speak()
            for address in addresses(HOSTILE):
                street.callers[address].knock(20, street.engine.now())  # type: ignore[attr-defined]
            await street.step(FRAME_S)
            assert len(street.engine._handshakes) <= HOSTILE * MAX_WAITING_PER_CALL
        _, newcomer, _ = await street.move_in(pack_address("192.0.2.9", 1))
        assert newcomer.state is State.CONNECTED
        assert street.engine.counters["dtls_waiting_full"] > 0
        assert not neighbour.complaints()
        await street.engine.close()
        assert street.engine.counters["dtls_failed_too_many_datagrams"] == HOSTILE

    run(flood())
