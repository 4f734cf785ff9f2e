"""A call by libwebrtc outlives the engine that had it: by handover, and by an old checkpoint."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from loadtest.sound import silence
from loadtest.target import Target
from tests.integration.libwebrtc_caller import EVENTS, LibwebrtcCaller
from tests.transceiver.caller import OUR_CERTIFICATE, FakeLink
from tests.transceiver.engine.test_engine import LOOPBACK, TRUNK_KEYS, make_engine  # noqa: F401 - a fixture
from transceiver.call.session import Session
from transceiver.engine.engine import Engine
from transceiver.signaling.answer import LocalIdentity, write_answer
from transceiver.signaling.offer_policy import read_offer
from transceiver.takeover.session_state import SECOND_OLD, STOPPED_BEFORE, read, write
from trunkline.process.address import Address
from wire import trunk
from wire.address import pack_address, unpack_address


class OneRelay:
    """A public UDP socket in front of one engine at a time; no route, no check."""

    def __init__(self) -> None:
        self.public, self.private = (_udp() for _ in range(2))
        self.address = Address(*self.public.getsockname())
        self.target: Address | None = None  # None: the engine is dead
        self._tagger = trunk.Tagger(TRUNK_KEYS)
        self._sender, self._sent = secrets.randbits(32), 0
        loop = asyncio.get_running_loop()
        loop.add_reader(self.public, self._up)
        loop.add_reader(self.private, self._down)

    def _up(self) -> None:
        packet, (host, port) = self.public.recvfrom(2048)
        if self.target is not None:
            self._sent += 1
            frames = [(pack_address(host, port), packet)]
            sealed = trunk.pack(self._tagger, self._sender, int(time.time()), self._sent, frames)
            self.private.sendto(sealed, (self.target.host, self.target.port))

    def _down(self) -> None:
        datagram = self.private.recv(2048)
        read = trunk.read(self._tagger, datagram)
        for address, packet in () if read.first in trunk.CONTROL else read.frames:
            self.public.sendto(packet, unpack_address(address))

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for endpoint in (self.public, self.private):
            loop.remove_reader(endpoint)
            endpoint.close()


def _udp() -> socket.socket:
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.bind(("127.0.0.1", 0))
    endpoint.setblocking(False)
    return endpoint


class Caller(LibwebrtcCaller):
    """Its offers go to an engine in this process."""

    engine: Engine
    relay: OneRelay
    session: Session

    async def place(self, offer_sdp: str) -> str:
        checked = read_offer(offer_sdp)
        self.session = self.engine.create_call(checked.offer, "whip", "", FakeLink().as_link())
        identity = LocalIdentity(
            self.session.local_ufrag,
            self.session.local_password,
            OUR_CERTIFICATE.fingerprint.value,
            self.session.ssrc,
            self.session.cname,
            session_id=1,
        )
        return write_answer(checked, identity, [self.relay.address])


@pytest.fixture
async def caller(make_engine: Callable[..., Engine]) -> AsyncIterator[Caller]:  # noqa: F811
    """A connected caller that has spoken and been answered."""
    engine, relay = make_engine(), OneRelay()
    relay.target = await engine.start(LOOPBACK)
    async with aiohttp.ClientSession() as http:
        caller = Caller(http, Target("", ""))
        caller.engine, caller.relay = engine, relay
        await caller.connect()
        await caller.message("first")
        await caller.talk(silence(0.2))
        yield caller
        await caller.close()
    relay.close()


async def taken_over(caller: Caller, heir: Engine, sound: int) -> None:
    """Messages go round in order, each once, and sound goes on."""
    for text in ("third", "fourth"):
        await caller.message(text)
    await caller.talk(silence(0.5))
    assert (await caller.statistics())["inbound-rtp"].packets_received > sound + 15
    [session] = heir.calls()
    assert session.snapshot().state == "connected"


async def test_a_call_by_libwebrtc_is_handed_over(
    caller: Caller,
    make_engine: Callable[..., Engine],  # noqa: F811
) -> None:
    """DTLS, SRTP and SCTP go on in another engine, and the caller's stack sees one peer."""
    sound = (await caller.statistics())["inbound-rtp"].packets_received
    heir = make_engine()
    there = await heir.start(LOOPBACK)
    state = caller.engine.hand_over(caller.session.call_id)
    assert state is not None
    heir.adopt(read(write(state)), FakeLink().as_link(), STOPPED_BEFORE)
    caller.relay.target = there
    await taken_over(caller, heir, sound)
    assert caller.messages == ["first", "third", "fourth"]


async def test_a_call_by_libwebrtc_outlives_a_crash(
    caller: Caller,
    make_engine: Callable[..., Engine],  # noqa: F811
) -> None:
    """A checkpoint older than the last messages is enough: numbers jump, and libwebrtc follows."""
    state = caller.engine.checkpoint(caller.session.call_id)
    assert state is not None
    await caller.message("second")
    caller.session.on_data(EVENTS, "unasked")
    await caller.message("second, again")
    sound = (await caller.statistics())["inbound-rtp"].packets_received
    caller.relay.target = None  # dead
    heir = make_engine()
    there = await heir.start(LOOPBACK)
    heir.adopt(read(write(state)), FakeLink().as_link(), SECOND_OLD)
    caller.relay.target = there
    await taken_over(caller, heir, sound)
    assert caller.messages == ["first", "second", "unasked", "second, again", "third", "fourth"]
