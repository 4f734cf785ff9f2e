"""Mutated packets against a whole relay worker: nothing raises, nothing is lost from the books.

One `Attack` is a worker with every limit, defence and recovery on, a sibling, a store that answers
some questions rightly, some wrongly and some never, and a clock that goes on. `run` throws batches
at it, up and down, and holds after each what must hold; what grows would show in `objects`.
"""

from __future__ import annotations

import random
import sys

from relay.shared.counters import Counter
from relay.shared.nodes import FlowOwner
from relay.shared.rates import Rates
from relay.shared.voice import VoiceTable, VoiceWatch, WatchOrder
from relay.worker.parking import MAX_UNKNOWN
from relay.worker.uplink_few import MAX_HINTS
from tests.fuzz.mutation import mutate
from tests.relay.engine import Bounds, Engine, Packets, Shared, Slot, repeatable
from tests.relay.kit import (
    EPOCH,
    NODE,
    NODE_ADDRESS,
    NOW_MS,
    NOW_S,
    TOKEN_KEYS,
    TRUNK_KEYS,
    check,
    client,
    from_node,
    media,
    ufrag,
)
from wire import stun, trunk
from wire.address import pack_address
from wire.claim import ALIVE, NOBODY, NOWHERE, Claim, sender
from wire.replay import MAX_SENDERS
from wire.trunk import FrameType, Tagger

BATCH = 64
CAPACITY = 200
CALLERS = 150
STRANGERS = 60_000
LONGEST_FRAME = 180
OTHER_NODE, LOST_NODE = NODE + 1, NODE + 2
_PARKING = 500
_DOWN_EVERY = 8  # batches: media flows both ways, but a trunk datagram holds several packets


class Attack:
    """A worker under fire. The same seed throws the same packets in the same order."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        with repeatable(self._chance):
            self._build()

    def _build(self) -> None:
        self._callers = [client(number) for number in range(CALLERS)]
        self._clients = frozenset(self._callers)
        self._down_count = 0
        self._rounds = 0
        shared, next_door = Shared(), Slot(CAPACITY)
        for node in (NODE, OTHER_NODE, LOST_NODE):
            shared.nodes.put(node, EPOCH, NODE_ADDRESS)
        bounds = Bounds(
            rates=Rates(strangers=500, checks=5, packets=20_000),
            parking_packets=_PARKING,
            flow_idle_ms=5_000,
        )
        self.engine = Engine(shared, Slot(CAPACITY), TOKEN_KEYS, TRUNK_KEYS, bounds, batch=BATCH)
        self.neighbour = Engine(shared, next_door, TOKEN_KEYS, TRUNK_KEYS, bounds, batch=BATCH)
        self.engine.read([next_door])
        self._voice = VoiceWatch(VoiceTable(memoryview(bytearray(8 * VoiceTable.WORDS)).cast("Q")))
        watched = [WatchOrder(n, n + 1, client(n), 1 << 40) for n in range(50)]
        self._voice.follow(watched, NOW_MS)
        self._calls = [ufrag() for _ in range(CALLERS)]
        self._others = [
            check(ufrag()),
            check(ufrag(), password="w" * 32),
            b"\x16\xfe\xfd" + bytes(60),
            stun.write(1, stun.MessageClass.SUCCESS, bytes(12), [(0x20, bytes(8))], "p"),
            b"",
        ]

    def run(self, packets: int) -> None:
        """Throw at least so many packets. Raises AssertionError, or whatever the relay raised."""
        until = self.packets + packets
        with repeatable(self._chance):
            while self.packets < until:
                self._round()

    def close(self) -> None:
        """Let go of the control channels."""
        self.engine.close()
        self.neighbour.close()

    @property
    def now_ms(self) -> int:
        """The clock: 3 ms a batch."""
        return NOW_MS + 3 * self._rounds

    @property
    def unix_s(self) -> int:
        """The wall clock, which goes with it."""
        return NOW_S + 3 * self._rounds // 1000

    @property
    def packets(self) -> int:
        """Packets and trunk datagrams thrown so far."""
        counters = (Counter.UP_PACKETS, Counter.DOWN_DATAGRAMS)
        return sum(e.count(c) for e in (self.engine, self.neighbour) for c in counters)

    def figures(self) -> dict[str, int]:
        """The engine's counters that are not zero."""
        return {name: value for name, value in self.engine.named().items() if value}

    def _round(self) -> None:
        self._rounds += 1
        self._up(self.engine)
        if self._rounds % _DOWN_EVERY == 0:
            self._up(self.neighbour)
            self._down()
            self._hear_claims()
            self._answer()
            self.engine.housekeep(self.now_ms)
            self.neighbour.housekeep(self.now_ms)
            self._check()

    def _up(self, engine: Engine) -> None:
        packets = [self._packet() for _ in range(self._size())]
        with engine.turn():
            engine.up(packets, self.now_ms, self.unix_s)
        self._voice.note(engine.from_clients, len(packets), self.now_ms)

    def _size(self) -> int:
        """Some batches are small enough for the path of a handful."""
        return self._chance.randint(1, 16) if self._chance.random() < 0.2 else BATCH

    def _packet(self) -> tuple[bytes, bytes]:
        chance = self._chance
        caller = chance.randrange(CALLERS)
        kind = chance.random()
        if kind < 0.1:
            packet = check(self._calls[caller])
        elif kind < 0.7:
            packet = media(chance.randint(2, 200), caller)
        else:
            packet = chance.choice(self._others)
        address = self._callers[caller]
        if chance.random() < 0.3:
            number = chance.randrange(STRANGERS)
            address = pack_address(f"203.{number >> 8 & 255}.{number & 255}.7", 1024 + number)
        return address, mutate(chance, packet) if chance.random() < 0.8 else packet

    def _down(self) -> None:
        datagrams: Packets = []
        for _ in range(self._chance.randint(1, BATCH)):
            self._down_count += 1
            frames = [
                (self._chance.choice(self._callers), media(self._chance.randint(2, LONGEST_FRAME)))
                for _ in range(self._chance.randint(1, 6))
            ]
            datagram = from_node(*frames, count=self._down_count, time_s=self.unix_s)
            if self._chance.random() < 0.7:
                datagram = mutate(self._chance, datagram)
            datagrams.append((NODE_ADDRESS, datagram))
        for address, packet in self.engine.down(datagrams, self.now_ms, self.unix_s):
            assert address in self._clients
            assert len(packet) <= LONGEST_FRAME

    def _control(self) -> tuple[bytes, bytes]:
        """Claims of calls, good and bad, and a sign of life, from one node or another."""
        self._down_count += 1
        chance, node = self._chance, self._chance.choice([NODE, OTHER_NODE])
        claims = [
            Claim(
                chance.choice([*self._calls, *["0" * 24] * 20]),
                sender(chance.choice([NODE, OTHER_NODE]), chance.choice([EPOCH, EPOCH, EPOCH + 1])),
                chance.choice([NOBODY, NOBODY, sender(LOST_NODE, EPOCH), chance.getrandbits(32)]),
                chance.choice([NOWHERE, *self._callers]),
            ).frame()
            for _ in range(chance.randint(1, 5))
        ]
        kind = chance.choice([FrameType.CLAIM] * 4 + [FrameType.CLAIMED, FrameType.ALIVE])
        frames = claims if kind is not FrameType.ALIVE else [ALIVE]
        number = sender(node, EPOCH)
        tagger = Tagger(TRUNK_KEYS)
        data = trunk.pack(tagger, number, self.unix_s, self._down_count, frames, kind)
        return NODE_ADDRESS, mutate(chance, data) if chance.random() < 0.5 else data

    def _hear_claims(self) -> None:
        datagrams = [self._control() for _ in range(self._chance.randint(1, 4))]
        engine = self._chance.choice([self.engine, self.neighbour])
        with engine.turn():
            assert engine.down(datagrams, self.now_ms, self.unix_s) == []
        engine.answered(self.now_ms, self.unix_s)

    def _answer(self) -> None:
        """The store: a third of the answers are owners, some of another epoch; some never come."""
        asked = self.engine.questions()
        owners = [None, None, FlowOwner(NODE, EPOCH), FlowOwner(NODE, EPOCH + 1)]
        answers = {a: self._chance.choice(owners) for a in asked if self._chance.random() < 0.9}
        self.engine.hear(answers, self.now_ms)
        self.engine.released(self.unix_s)
        self.neighbour.questions()

    def _check(self) -> None:
        engine = self.engine
        went = engine.count(Counter.UP_FORWARDED) + engine.dropped_up() + len(engine.parking)
        assert went == engine.count(Counter.UP_PACKETS)
        assert len(engine.flows) <= CAPACITY
        assert len(engine.parking) <= _PARKING
        assert engine.parking.remembered <= MAX_UNKNOWN
        assert len(engine.uplink._few._hints) <= MAX_HINTS
        assert len(engine.replay) <= MAX_SENDERS
        assert not engine.recovery._due
        assert not len(engine.answers)
        assert len(engine.slot.claims.by_ufrag) <= CALLERS
        assert len(engine.slot.claims.by_address) <= CALLERS


def objects() -> int:
    """Memory blocks that Python holds: what a leak of any kind of object raises."""
    return sys.getallocatedblocks()
