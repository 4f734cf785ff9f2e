"""The engine and its trunk socket on loopback, with a scripted relay, caller and backend."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from fleet.errors import AddressInUse, AddressUnusable
from tests.transceiver.caller import AWAY, HOME, OUR_CERTIFICATE, Caller, FakeLink, make_offer
from transceiver.call.session import Session
from transceiver.call.states import State
from transceiver.engine import trunk_socket
from transceiver.engine.engine import Engine
from transceiver.engine.handshakes import MAX_DATAGRAMS_PER_TURN, MAX_WAITING_OF_CONNECTED
from transceiver.engine.refusals import Draining, TooManyCalls
from transceiver.engine.trunk_socket import TrunkSocket
from transceiver.link.errors import BackendAbsent
from trunkline.process.address import Address
from wire import claim, token, trunk
from wire.address import pack_address
from wire.keys import KeyRing
from wire.token import Route

TOKEN_KEYS = KeyRing(1, {1: b"t" * 32})
TRUNK_KEYS = KeyRing(2, {2: b"k" * 32})
ROUTE = Route(cluster=3, node=17, epoch=5)
LOOPBACK = Address("127.0.0.1", 0)


class Relay:
    """One relay worker: a socket, a sender number, and what came down to which caller."""

    def __init__(self, engine_address: Address) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.target = (engine_address.host, engine_address.port)
        self.tagger = trunk.Tagger(TRUNK_KEYS)
        self.sender, self.sent = secrets.randbits(32), 0
        self.datagrams: list[trunk.Datagram] = []  # with frames of callers
        self.counts: list[int] = []  # of these, and of claims and signs of life
        self.claims: list[claim.Claim] = []
        self.answers = True
        self.nodes: dict[int, tuple[str, int]] = {}  # where claims lead: by sender number

    def up(
        self, *frames: tuple[bytes, bytes], kind: trunk.FrameType = trunk.FrameType.DATAGRAM
    ) -> bytes:
        """Send frames; the datagram they went in."""
        self.sent += 1
        datagram = trunk.pack(self.tagger, self.sender, int(time.time()), self.sent, frames, kind)
        self.socket.sendto(datagram, self.target)
        return datagram

    async def down(self) -> tuple[tuple[bytes, bytes], ...]:
        """The frames of the next datagram from the engine."""
        loop = asyncio.get_running_loop()
        while True:
            data = await asyncio.wait_for(loop.sock_recv(self.socket, 2048), 5)
            datagram = trunk.read(self.tagger, data)
            self.counts.append(datagram.count)
            if datagram.first is trunk.FrameType.CLAIM:
                self._follow(datagram.frames)
            if datagram.first not in trunk.CONTROL:
                self.datagrams.append(datagram)
                return datagram.frames

    def _follow(self, frames: Sequence[tuple[bytes, bytes]]) -> None:
        """Do what claims say, and answer them, unless the worker is older than claims are."""
        self.claims += [claim.read(*frame) for frame in frames]
        self.target = self.nodes.get(self.claims[-1].owner, self.target)
        if self.answers:
            self.up(*frames, kind=trunk.FrameType.CLAIMED)


@pytest.fixture
async def make_engine() -> AsyncIterator[Callable[..., Engine]]:
    engines: list[Engine] = []

    def make(**options: int) -> Engine:
        engines.append(Engine(TOKEN_KEYS, TRUNK_KEYS, ROUTE, OUR_CERTIFICATE, **options))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.close()


@pytest.fixture
async def engine(make_engine: Callable[..., Engine]) -> Engine:
    made = make_engine()
    await made.start(LOOPBACK)
    return made


@pytest.fixture
def make_relay(engine: Engine) -> Iterator[Callable[[], Relay]]:
    relays: list[Relay] = []

    def make() -> Relay:
        assert engine._trunk.socket is not None
        relays.append(Relay(engine._trunk.socket.address))
        return relays[-1]

    yield make
    for relay in relays:
        relay.socket.close()


@pytest.fixture
def relay(make_relay: Callable[[], Relay]) -> Relay:
    return make_relay()


def make_call(engine: Engine, link: FakeLink | None = None) -> tuple[Session, Caller]:
    offer = make_offer()
    session = engine.create_call(offer, "whip", "", (link or FakeLink()).as_link())
    now = asyncio.get_running_loop().time()
    return session, Caller(offer, session.local_ufrag, session.local_password, now)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def converse(
    relay: Relay, caller: Caller, done: Callable[[], bool], address: bytes = HOME
) -> None:
    """Carry the caller's packets until `done`."""
    loop = asyncio.get_running_loop()
    while True:
        for _ in range(5):  # tasks of the caller's SCTP library have more to say
            await asyncio.sleep(0)
        for packet in caller.out:
            relay.up((address, packet))
        caller.out.clear()
        if done():
            return
        for to, packet in await relay.down():
            assert to == address
            caller.receive(packet, loop.time())


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the engine has read what was sent."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def connect(
    engine: Engine, relay: Relay, address: bytes = HOME, link: FakeLink | None = None
) -> tuple[Session, Caller]:
    session, caller = make_call(engine, link)
    caller.check()
    await converse(relay, caller, lambda: "oai-events" in caller.opened, address)
    assert session.state is State.CONNECTED
    return session, caller


async def test_a_whole_call_over_the_trunk(engine: Engine, relay: Relay) -> None:
    """STUN, DTLS, sound and messages go up and come down through trunk datagrams."""
    session, caller = await connect(engine, relay)
    assert token.read(TOKEN_KEYS, session.local_ufrag) == ROUTE
    assert session.local_password == token.password(TOKEN_KEYS, session.local_ufrag)
    for index in range(10):
        caller.say(b"\xf8v" + bytes((index,)))
    caller.channels.send("oai-events", "hello")  # type: ignore[union-attr]
    await converse(relay, caller, lambda: len(caller.heard) == 10 and caller.messages != [])
    assert [packet.payload for packet in caller.heard] == [
        b"\xf8v" + bytes((i,)) for i in range(10)
    ]
    assert {d.sender for d in relay.datagrams} == {ROUTE.node << 16 | ROUTE.epoch}
    counts = relay.counts
    assert counts == [(counts[0] + index) & 0xFFFFFFFF for index in range(len(counts))]
    assert engine.end(session.call_id, "hangup") and not engine.end(session.call_id, "hangup")
    await converse(relay, caller, lambda: caller.closed)
    await caller.hang_up()
    assert engine.find(session.call_id) is None and engine.calls() == []
    assert not engine._paths and not engine._ufrags and len(engine._alarm.wheel) == 0


async def test_one_wake_up_packs_the_packets_of_many_calls(engine: Engine, relay: Relay) -> None:
    """Checks of 8 callers in one datagram are answered with several frames a datagram."""
    calls = [make_call(engine)[1] for _ in range(8)]
    addresses = [pack_address("192.0.2.1", 1000 + index) for index in range(8)]
    for caller in calls:
        caller.check()
    relay.up(*((address, call.out.pop()) for address, call in zip(addresses, calls, strict=True)))
    frames = await relay.down()
    assert len({address for address, _ in frames}) > 1
    while {address for address, _ in frames} != set(addresses):
        frames += await relay.down()
    assert all(len(datagram.frames) >= 2 for datagram in relay.datagrams[:-1])


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"\x16\xfe\xfd" + bytes(40), "unknown_address"),
        (b"\x80\x6d" + bytes(40), "unknown_address"),
        (b"", "unknown_address"),
        (bytes(20), "stun_cookie"),
        (bytes(3), "stun_short"),
    ],
)
async def test_what_belongs_to_no_call_is_counted(
    engine: Engine, relay: Relay, packet: bytes, reason: str
) -> None:
    """DTLS before STUN, RTP from strangers, noise."""
    relay.up((HOME, packet))
    await until(lambda: engine.counters[reason] == 1)
    assert dict(engine.counters) == {reason: 1}


async def test_a_forged_ufrag_and_a_wrong_password_are_not_answered(
    engine: Engine, relay: Relay
) -> None:
    """Silence, two counters, and no path to the forger."""
    _, caller = make_call(engine)
    caller.check(password="guessed")
    caller.ufrag = token.mint(TOKEN_KEYS, ROUTE, bytes(4))
    caller.check()
    relay.up(*((HOME, packet) for packet in caller.out))
    await until(lambda: engine.counters["unknown_ufrag"] == 1)
    assert engine.counters["ice_integrity"] == 1
    assert not engine._paths and not engine._trunk.out


async def test_forged_cut_and_replayed_trunk_datagrams_are_dropped(
    engine: Engine, relay: Relay, make_relay: Callable[[], Relay]
) -> None:
    """Also when the copy comes from another sender's address."""
    _, caller = make_call(engine)
    caller.check()
    datagram = relay.up((HOME, caller.out.pop()))
    await relay.down()
    thief = make_relay()
    changed = datagram[:16] + bytes(8) + datagram[24:]
    for copy in (datagram, changed, datagram[:30], datagram[:-1], b""):
        thief.socket.sendto(copy, thief.target)
    await until(lambda: engine.counters["trunk_length"] == 1)
    await until(lambda: engine.counters["trunk_short"] == 2)
    assert engine.counters["trunk_replay"] == 1 and engine.counters["trunk_tag"] == 1
    assert engine.counters["out_datagrams"] == 1
    # The relay that really hears the caller is still the one that is answered.
    source = pack_address(*relay.socket.getsockname())
    assert engine._paths[HOME].relay == source


async def test_packets_go_back_to_the_relay_that_heard_the_caller_last(
    engine: Engine, relay: Relay, make_relay: Callable[[], Relay]
) -> None:
    """A relay worker that takes over a flow is followed with its first frame."""
    _, caller = await connect(engine, relay)
    other = make_relay()
    caller.say()
    await converse(other, caller, lambda: len(caller.heard) == 1)


async def test_an_address_taken_over_by_another_call_follows_the_newer_check(
    engine: Engine, relay: Relay
) -> None:
    """Two callers, one port after the other; the end of the first changes nothing."""
    first, _ = await connect(engine, relay)
    second, caller = await connect(engine, relay)
    assert engine.counters["address_taken_over"] == 1
    assert HOME not in first.addresses and HOME in second.addresses
    engine.end(first.call_id, "operator")
    caller.say()
    await converse(relay, caller, lambda: len(caller.heard) == 1)


async def test_a_rebound_caller_is_heard_at_the_new_address(engine: Engine, relay: Relay) -> None:
    """Its old address goes with the call's end, like the new one."""
    session, caller = await connect(engine, relay)
    caller.check()
    await converse(relay, caller, lambda: caller.checked == 1, AWAY)
    await until(lambda: session._ice.paths[AWAY].answered)  # the response led to its session
    caller.say()
    await converse(relay, caller, lambda: len(caller.heard) == 1, AWAY)
    engine.end(session.call_id, "operator")
    assert not engine._paths


async def test_an_ice_restart_leads_to_the_same_call(engine: Engine, relay: Relay) -> None:
    """The new ufrag is a token of this process; the old one ends with its first check."""
    session, caller = await connect(engine, relay)
    old = session.local_ufrag
    caller.ufrag, caller.password = session.restart_ice("caller2", "p" * 24)  # type: ignore[misc]
    caller.remote_ufrag = "caller2"
    assert set(engine._ufrags) == {old, caller.ufrag}
    caller.check()
    await converse(relay, caller, lambda: len(caller.responses) == 2)
    assert set(engine._ufrags) == {caller.ufrag}


async def test_an_oversize_packet_is_counted_not_sent(engine: Engine, relay: Relay) -> None:
    """What does not fit the trunk's MTU is dropped by itself."""
    await connect(engine, relay)
    engine.transmit(HOME, bytes(1400))
    assert engine.counters["out_oversize"] == 1
    engine.transmit(AWAY, b"x")
    assert engine.counters["out_no_path"] == 1 and not engine._trunk.out


async def test_calls_are_bounded_and_in_order(make_engine: Callable[..., Engine]) -> None:
    """One more than `max_calls` is refused; ending one makes room."""
    engine = make_engine(max_calls=2)
    first, _ = make_call(engine)
    second, _ = make_call(engine)
    with pytest.raises(TooManyCalls):
        make_call(engine)
    assert engine.calls() == [first, second]
    engine.end(first.call_id, "operator")
    third, _ = make_call(engine)
    assert engine.calls() == [second, third]
    assert engine.counters["call_ended_operator"] == 1


async def test_an_absent_backend_leaves_no_call_behind(make_engine: Callable[..., Engine]) -> None:
    """The refusal of the link comes through, and every table is empty."""
    engine = make_engine()
    with pytest.raises(BackendAbsent):
        make_call(engine, FakeLink(ready=False))
    assert engine.calls() == [] and not engine._ufrags and len(engine._alarm.wheel) == 0
    await asyncio.wait_for(engine.idle(), 5)


async def test_accepted_passes_the_backends_answer_on(make_engine: Callable[..., Engine]) -> None:
    """A refusal reaches signaling, which ends the call."""
    link = FakeLink()
    engine = make_engine()
    session, _ = make_call(engine, link)
    await session.accepted(1.0)
    link.handles[0].refusal = BackendAbsent("gone")
    with pytest.raises(BackendAbsent):
        await session.accepted(1.0)


async def test_a_draining_engine_takes_no_calls(make_engine: Callable[..., Engine]) -> None:
    """Those that are there go on until somebody ends them."""
    link = FakeLink()
    engine = make_engine()
    make_call(engine, link)
    engine.draining = True
    with pytest.raises(Draining):
        make_call(engine)
    assert link.handles[0].closed == ""
    assert engine.dismiss_all("drained") == 1
    await asyncio.wait_for(engine.idle(), 5)
    assert link.handles[0].closed == "drained"
    engine.draining = False
    make_call(engine, link)


async def test_a_learned_bound_refuses_new_calls_and_ends_none(
    make_engine: Callable[..., Engine],
) -> None:
    """Below the live calls it keeps new ones out until enough have ended."""
    engine = make_engine()
    ended: list[str] = []
    engine.listen_ended(ended.append)
    (first, _), (second, _) = make_call(engine), make_call(engine)
    engine.max_calls = 1
    with pytest.raises(TooManyCalls):
        make_call(engine)
    assert engine.calls() == [first, second]
    engine.end(first.call_id, "hangup")
    assert engine.dismiss(second.call_id, "operator")
    assert not engine.dismiss(second.call_id, "operator")
    assert ended == [first.call_id, second.call_id]


async def test_close_says_goodbye_and_leaves_nothing(
    make_engine: Callable[..., Engine],
) -> None:
    """Every caller hears close_notify; no task, timer or descriptor is left."""
    tasks, descriptors = asyncio.all_tasks(), open_descriptors()
    engine = make_engine()
    relay = Relay(await engine.start(LOOPBACK))
    _, caller = await connect(engine, relay)
    await engine.close("drained")
    await converse(relay, caller, lambda: caller.closed)
    await caller.hang_up()
    relay.socket.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks
    assert open_descriptors() == descriptors
    assert not engine._paths and engine._alarm.timer is None


def test_a_taken_port_and_a_foreign_address_are_one_clear_error() -> None:
    """The operator reads which address and why."""
    holder = TrunkSocket(LOOPBACK)
    try:
        with pytest.raises(AddressInUse, match=str(holder.address.port)):
            TrunkSocket(holder.address)
        with pytest.raises(AddressUnusable, match="cannot bind"):
            TrunkSocket(Address("192.0.2.1", 0))
    finally:
        holder.close()


def drain(socket: TrunkSocket) -> list[tuple[bytes, bytes]]:
    """All that waits, in as many wake-ups as it takes."""
    taken: list[tuple[bytes, bytes]] = []
    while some := socket.receive(0.0):
        taken += some
    return taken


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_socket_carries_batches_both_ways_in_order(host: str) -> None:
    """More than one system call's worth, in either family, with sources as they are."""
    left, right = TrunkSocket(Address(host, 0)), TrunkSocket(Address(host, 0))
    try:
        assert right.address.host == host
        packed = pack_address(right.address.host, right.address.port)
        sent = [(index.to_bytes(2) * (1 + index % 700), packed) for index in range(150)]
        assert left.send(sent) == 0
        received = drain(right)
        assert [datagram for datagram, _ in received] == [datagram for datagram, _ in sent]
        assert {s for _, s in received} == {pack_address(left.address.host, left.address.port)}
        assert drain(right) == []
    finally:
        left.close()
        right.close()


def test_a_wake_up_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left over waits for the next one."""
    monkeypatch.setattr(trunk_socket, "MAX_PER_WAKEUP", 64)
    left, right = TrunkSocket(LOOPBACK), TrunkSocket(LOOPBACK)
    try:
        packed = pack_address(right.address.host, right.address.port)
        assert right.receive(0.0) == []
        left.send([(b"x", packed)] * 100)
        assert [len(right.receive(0.0)) for _ in range(3)] == [64, 36, 0]
    finally:
        left.close()
        right.close()


def test_relays_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their prepared socket names do not pile up."""
    monkeypatch.setattr(trunk_socket, "MAX_NAMES", 8)
    left = TrunkSocket(LOOPBACK)
    try:
        for port in range(20):
            left._name(pack_address("127.0.0.1", 50000 + port))
        assert len(left._names) == 8
    finally:
        left.close()


async def half_connect(engine: Engine, relay: Relay) -> tuple[Session, Caller]:
    """A call from AWAY whose flight with the certificate waits in the caller's `out`."""
    session, caller = make_call(engine)
    caller.check()
    while caller.dtls is None:
        for packet in caller.out:
            relay.up((AWAY, packet))
        caller.out.clear()
        for _, packet in await relay.down():
            caller.receive(packet, asyncio.get_running_loop().time())
    return session, caller


async def test_sound_goes_before_handshakes(engine: Engine, relay: Relay) -> None:
    """A flight that comes before a frame of a live call is worked on after it."""
    _, talker = await connect(engine, relay)
    _, newcomer = await half_connect(engine, relay)
    flight = [(AWAY, packet) for packet in newcomer.out]
    relay.up(*flight, (HOME, talker.say()))
    assert [address for address, _ in await relay.down()] == [HOME]
    assert {address for address, _ in await relay.down()} == {AWAY}


async def test_sound_does_not_overtake_its_own_handshake(engine: Engine, relay: Relay) -> None:
    """A caller's first frame, right behind its last flight, is heard and not dropped."""
    session, caller = await half_connect(engine, relay)
    while caller.srtp is None:
        for packet in caller.out:
            relay.up((AWAY, packet))
        caller.out.clear()
        for _, packet in await relay.down():
            caller.receive(packet, asyncio.get_running_loop().time())
    last_flight = list(caller.out)
    relay.up(*((AWAY, packet) for packet in (*last_flight, caller.say())))
    await until(lambda: session.snapshot().packets_received == 1)
    assert engine.counters["rtp_before_keys"] == 0


async def test_a_flood_of_one_handshake_is_bounded(engine: Engine, relay: Relay) -> None:
    """Garbage from an authenticated address is refused at its bound and the handshake goes on."""
    _, caller = await half_connect(engine, relay)
    flight, caller.out = caller.out, []
    garbage = b"\x16\xfe\xfd" + bytes(20)
    relay.up(*((AWAY, garbage) for _ in range(25)))
    await until(lambda: engine.counters["dtls_waiting_full"] > 0)
    await until(lambda: not engine._handshakes)
    caller.out = flight
    await converse(relay, caller, lambda: "oai-events" in caller.opened, AWAY)


async def test_a_flood_of_a_connected_call_waits_behind_sound(
    engine: Engine, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records and reports of one caller, by the hundred, are worked off a few a turn; at its bound
    they are dropped; and the sound of another that came behind them is heard before."""
    quiet, talker = await connect(engine, relay)
    loud, _ = await connect(engine, relay, AWAY)
    worked_off: list[Session] = []
    handle = Session.handle_datagram

    def noted(session: Session, address: bytes, packet: bytes, now: float) -> None:
        worked_off.append(session)
        handle(session, address, packet, now)

    monkeypatch.setattr(Session, "handle_datagram", noted)
    record, report = b"\x17\xfe\xfd\x00\x01" + bytes(8), b"\x80\xc9\x00\x01" + bytes(4)
    for _ in range(8):
        relay.up(*((AWAY, packet) for packet in (record, report) * 12))
    relay.up((HOME, talker.say()))
    await until(lambda: quiet in worked_off)
    assert worked_off.index(quiet) <= MAX_DATAGRAMS_PER_TURN
    await until(lambda: not engine._handshakes)
    assert worked_off.count(loud) == MAX_WAITING_OF_CONNECTED
    assert engine.counters["dtls_waiting_full"] >= 8 * 24 - MAX_WAITING_OF_CONNECTED
    assert loud.state is State.CONNECTED
