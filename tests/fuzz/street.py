"""An engine without a network: trunk datagrams go in and out as values, on virtual time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from tests.transceiver.caller import HOME, OUR_CERTIFICATE, Caller, FakeHandle, FakeLink, make_offer
from tests.transceiver.engine.test_engine import ROUTE, TOKEN_KEYS, TRUNK_KEYS
from transceiver.call.session import Session
from transceiver.engine.engine import Engine
from trunkline.process.address import Address
from trunkline.v1 import model_pb2
from wire import trunk
from wire.address import pack_address

FRAME_S = 0.02
RELAY = pack_address("198.51.100.1", 4000)
RELAY_SENDER = 7
MTU = trunk.DEFAULT_MTU
MAX_FRAME = trunk.max_payload(MTU)


class Wire:
    """What the engine takes for its trunk socket: a list each way."""

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes, bytes]] = []
        self.sent: list[bytes] = []

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", 1)

    def fileno(self) -> int:
        return 0  # the engine unregisters it at its end; nobody ever registered it

    def receive(self, now_s: float) -> list[tuple[bytes, bytes]]:
        waiting, self.waiting = self.waiting, []
        return waiting

    def take_stale(self) -> int:
        return 0

    def send(self, datagrams: Sequence[tuple[bytes, bytes]]) -> int:
        self.sent += [datagram for datagram, _ in datagrams]
        return 0

    def close(self) -> None:
        pass


class Street:
    """One engine, the relay in front of it, and the callers who live there."""

    def __init__(self) -> None:
        self.link = FakeLink()
        self.engine = Engine(TOKEN_KEYS, TRUNK_KEYS, ROUTE, OUR_CERTIFICATE)
        self.wire = Wire()
        self.engine._trunk.socket = self.wire  # type: ignore[assignment]
        self.tagger = trunk.Tagger(TRUNK_KEYS)
        self.counted = 0
        self.callers: dict[bytes, Caller] = {}

    async def move_in(
        self,
        address: bytes,
        kind: type[Caller] = Caller,
        role: str = "client",
        audio_format: int = model_pb2.AUDIO_FORMAT_OPUS,
    ) -> tuple[Caller, Session, FakeHandle]:
        """A new call from `address` to a backend of that format, until its data channel is open."""
        self.link.accepts = (audio_format,)
        offer = make_offer(role)
        session = self.engine.create_call(offer, "whip", "", self.link.as_link())
        caller = kind(offer, session.local_ufrag, session.local_password)
        self.callers[address] = caller
        caller.check()
        for _ in range(500):
            await self.step(FRAME_S / 20)
            if caller.role.value == "client" and caller.dtls is None and caller.responses:
                caller.start_dtls(self.engine.now())
            if "oai-events" in caller.opened:
                return caller, session, self.link.handles[-1]
        raise AssertionError(f"no call: {caller.events}")

    async def step(self, seconds: float) -> None:
        """Carry what was said, both ways, and let that much virtual time pass."""
        self.up([(a, packet) for a, caller in self.callers.items() for packet in caller.out])
        for caller in self.callers.values():
            caller.out.clear()
        await asyncio.sleep(seconds)
        self.down()

    def up(self, frames: Sequence[tuple[bytes, bytes]]) -> None:
        """What the relay passes on at one moment."""
        for run in trunk.fill([frame for frame in frames if len(frame[1]) <= MAX_FRAME], MTU):
            self.counted += 1
            datagram = trunk.pack(self.tagger, RELAY_SENDER, int(time.time()), self.counted, run)
            self.wire.waiting.append((datagram, RELAY))
        self.engine._on_readable()

    def down(self) -> None:
        """Give the callers what the engine sent."""
        sent, self.wire.sent = self.wire.sent, []
        for datagram in sent:
            for address, packet in trunk.read(self.tagger, datagram).frames:
                if address in self.callers:
                    self.callers[address].receive(packet, self.engine.now())


class Neighbour:
    """The healthy call: a numbered frame each 20 ms, a check and a message now and then."""

    def __init__(self, street: Street, caller: Caller, handle: FakeHandle) -> None:
        self.street, self.caller, self.handle = street, caller, handle
        self.sent: list[bytes] = []
        self.told: list[str] = []

    @classmethod
    async def moves_in(cls, street: Street) -> Neighbour:
        caller, _, handle = await street.move_in(HOME)
        return cls(street, caller, handle)

    def speak(self) -> None:
        number = len(self.sent)
        self.sent.append(b"\xf8voice" + number.to_bytes(4))
        self.caller.say(self.sent[-1])
        if number % 50 == 25:
            self.caller.check()
        if number % 50 == 49 and self.caller.channels is not None:
            self.told.append(f"message {number}")
            assert self.caller.channels.send("oai-events", self.told[-1])

    def complaints(self) -> dict[str, object]:
        """What the neighbour noticed of the others: nothing, when all is well."""
        sequences = [packet.sequence for packet in self.caller.heard]
        first = sequences[0] if sequences else 0
        wanted = [(first + number) & 0xFFFF for number in range(len(self.sent))]
        found = {
            "backend heard": [a[0] for a in self.handle.audio] == self.sent,
            "backend lost": not any(a[3] for a in self.handle.audio),
            "caller heard": [p.payload for p in self.caller.heard] == self.sent,
            "sequence": sequences == wanted,
            "messages": [text for _, text in self.caller.messages] == self.told,
            "call": not self.caller.closed and not self.handle.closed,
        }
        return {name: "wrong" for name, right in found.items() if not right}


def addresses(count: int) -> list[bytes]:
    """Where hostile callers live."""
    return [pack_address("203.0.113.66", 50_000 + number) for number in range(count)]


def residue(street: Street) -> Counter[str]:
    """What the engine keeps, by kind."""
    engine = street.engine
    return Counter(
        calls=len(engine._calls),
        ufrags=len(engine._ufrags),
        paths=len(engine._paths),
        handshakes=len(engine._handshakes),
        wheel=len(engine._alarm.wheel),
        tasks=len(asyncio.all_tasks()),
    )
