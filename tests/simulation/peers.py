"""Who speaks through the relay: callers behind their NATs, transceivers, and strangers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from relay.shared.nodes import FlowOwner
from tests.relay.kit import CLUSTER
from tests.simulation.claiming import Claims
from tests.simulation.ledger import Ledger, SentCheck, SentDatagram, demand
from wire import stun, token, trunk
from wire.claim import NOBODY, NOWHERE, Claim, sender
from wire.errors import WireError
from wire.keys import KeyRing
from wire.replay import ReplayWindow
from wire.token import Route
from wire.trunk import FrameType, Tagger

TICK_S = 0.02
MEDIA_EVERY = 2  # ticks
CHECK_EVERY = 25  # ticks: more often than a browser, so that a short run sees many
_DTLS, _RTP = b"\x16\xfe\xfd", b"\x80\x6f"


@dataclass(frozen=True)
class Call:
    """What an answer over HTTPS gave the caller."""

    owner: FlowOwner
    ufrag: str
    password: str = field(repr=False)


@dataclass
class Caller:
    """One caller: an address that his NAT gives him, and a call."""

    name: str
    address: bytes
    call: Call
    chance: random.Random
    ledger: Ledger
    connected: bool = False
    speaks: bool = True
    sent: list[bytes] = field(default_factory=list)  # media since it was last cleared

    def take(self, call: Call) -> None:
        """Begin another call."""
        self.call, self.connected = call, False

    async def run(self, send: Callable[[bytes, bytes], None]) -> None:
        """Check and speak until cancelled; `send` takes the address and the packet."""
        tick = self.chance.randrange(CHECK_EVERY)
        while True:
            if self.speaks and tick % CHECK_EVERY == 0:
                send(self.address, self.check())
            elif self.speaks and self.connected and tick % MEDIA_EVERY == 0:
                send(self.address, self.media())
            tick += 1
            await asyncio.sleep(TICK_S)

    def check(self) -> bytes:
        """A Binding Request with a transaction of its own."""
        transaction_id = self.chance.randbytes(12)
        name = f"{self.call.ufrag}:them".encode()
        packet = stun.write(
            stun.Method.BINDING,
            stun.MessageClass.REQUEST,
            transaction_id,
            [(stun.Attribute.USERNAME, name)],
            self.call.password,
        )
        call = self.call
        sent = SentCheck(self.address, call.owner, transaction_id, call.ufrag)
        self.ledger.checks[packet] = sent
        return packet

    def media(self) -> bytes:
        """A packet like no other, of any size."""
        head = _DTLS if self.chance.random() < 0.1 else _RTP
        packet = (
            head + self.ledger.next_serial() + self.chance.randbytes(self.chance.randint(0, 90))
        )
        self.ledger.media[packet] = self.address
        self.sent.append(packet)
        return packet

    def receive(self, packet: bytes) -> None:
        """Take what the network brings."""
        if packet[0] > 3:
            self.ledger.echoed.add(packet[1:])
            return
        answer = stun.read(packet)
        value = answer.find(stun.Attribute.XOR_MAPPED_ADDRESS)
        if value and stun.read_xor_address(value, answer.transaction_id) == self.address:
            self.connected = True


@dataclass
class Transceiver:
    """A stand-in built from `wire`: checks who calls, echoes what it hears, checks every packet."""

    owner: FlowOwner
    address: bytes
    token_keys: KeyRing
    trunk_keys: KeyRing
    ledger: Ledger
    send: Callable[[bytes, bytes, bytes], None]  # source, relay's trunk address, datagram
    chance: random.Random
    unix_s: Callable[[], int]
    passwords: dict[str, str] = field(default_factory=dict)
    verified: set[bytes] = field(default_factory=set)
    count: int = 0
    replay: ReplayWindow = field(default_factory=ReplayWindow)
    claims: Claims = field(init=False)
    _path: bytes = b""  # of the datagram under way
    gone_to: dict[str, int] = field(default_factory=dict)  # calls given away: ufrag → sender number

    def __post_init__(self) -> None:
        self.claims = Claims(self.say)

    @property
    def number(self) -> int:
        """As the trunk names it."""
        return sender(*self.owner)

    def give_away(self, caller: Caller, number: int) -> None:
        """The call is another's from now on; nothing more is said to its caller."""
        ufrag = caller.call.ufrag
        self.verified.discard(caller.address)
        self.claims.forget(ufrag)
        self.gone_to[ufrag] = number

    def adopt(self, caller: Caller, fenced: int, knows_address: bool, paths: list[bytes]) -> None:
        """Go on with another's call."""
        call, address = caller.call, caller.address if knows_address else NOWHERE
        self.ledger.holders[call.ufrag].append(self.owner)
        self.passwords[call.ufrag] = call.password
        self.gone_to.pop(call.ufrag, None)
        if knows_address:
            self.verified.add(address)
        self.claims.make(Claim(call.ufrag, self.number, fenced, address), paths)

    def haunt(self) -> None:
        """Come back after others have the calls, and speak to their callers."""
        for path in self.claims.paths:
            for address in sorted(self.verified):
                frame = address, b"\x80" + self.ledger.next_serial() + b"of a ghost"
                self.say(path, [frame], FrameType.DATAGRAM)

    def answer(self) -> Call:
        """A new call, as signaling makes it."""
        route = Route(CLUSTER, self.owner.node, self.owner.epoch)
        ufrag = token.mint(self.token_keys, route, self.chance.randbytes(4))
        self.passwords[ufrag] = token.password(self.token_keys, ufrag)
        self.ledger.holders[ufrag] = [self.owner]
        return Call(self.owner, ufrag, self.passwords[ufrag])

    def receive(self, path: bytes, data: bytes, unix_s: int) -> None:
        """One trunk datagram from a relay worker's trunk address."""
        datagram = trunk.read(Tagger(self.trunk_keys), data)
        try:
            self.replay.accept(datagram.sender, datagram.time_s, datagram.count, unix_s)
        except WireError:
            return  # the network duplicates
        self.claims.heard(path, datagram.sender)
        if datagram.first is FrameType.CLAIMED:
            self.claims.answered(path, datagram.frames)
            return
        self._path = path
        frames = [frame for frame in map(self._hear, datagram.frames) if frame]
        for run in trunk.fill(frames, trunk.DEFAULT_MTU):
            self.say(path, run, FrameType.DATAGRAM)

    def _hear(self, frame: tuple[bytes, bytes]) -> tuple[bytes, bytes] | None:
        """The answer to one client packet, if there is one."""
        address, payload = frame
        demand(self.ledger.source(payload) == address, "payload and source are as sent", *frame)
        if payload[0] <= 3:
            return self._check(address, payload)
        if address not in self.verified:
            return None
        self.ledger.arrived.add(payload)
        return address, b"\x80" + payload

    def _check(self, address: bytes, packet: bytes) -> tuple[bytes, bytes] | None:
        message = stun.read(packet)
        ufrag, _ = stun.username(message)
        holders = self.ledger.holders[ufrag]
        nodes = {holder.node for holder in holders}
        demand(self.owner.node in nodes, "a check reaches its node", address, self.owner)
        if self.owner not in holders:
            return None  # of the index's former owner: the relay has not heard yet
        if ufrag in self.gone_to:
            self._point_to_owner(ufrag, address)
            return None
        self.claims.moved(ufrag, address)
        password = self.passwords[ufrag]
        demand(stun.has_integrity(message, packet, password), "a check is whole", address)
        self.verified.add(address)
        mapped = stun.xor_address(address, message.transaction_id)
        response = stun.write(
            stun.Method.BINDING,
            stun.MessageClass.SUCCESS,
            message.transaction_id,
            [(stun.Attribute.XOR_MAPPED_ADDRESS, mapped)],
            password,
        )
        return address, response

    def _point_to_owner(self, ufrag: str, address: bytes) -> None:
        """A check of a call that was given away still came here: say where it is."""
        claim = Claim(ufrag, self.gone_to[ufrag], NOBODY, address)
        self.say(self._path, [claim.frame()], FrameType.CLAIM)

    def say(self, path: bytes, frames: Sequence[tuple[bytes, bytes]], kind: FrameType) -> None:
        """One trunk datagram to a relay worker."""
        self.count += 1
        data = trunk.pack(
            Tagger(self.trunk_keys), self.number, self.unix_s(), self.count, frames, kind
        )
        key_id = self.trunk_keys.current
        sent = SentDatagram(self.owner, self.address, key_id, tuple(frames), kind)
        self.ledger.datagrams[data] = sent
        self.send(self.address, path, data)
