"""One simulated fleet: callers, a relay's place, transceivers, a store, networks between them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from relay.shared.nodes import FlowOwner
from tests.simulation.ledger import Ledger, demand
from tests.simulation.oracle import Oracle
from tests.simulation.peers import Call, Caller, Transceiver
from tests.simulation.place import (
    FLOW_IDLE_S,
    Desk,
    Keys,
    Nodes,
    Post,
    Relay,
    dealt,
    new_posts,
    unix_s,
)
from tests.simulation.vanishing_store import State, VanishingStore
from tests.simulation.weather import CALLERS, CALM, TRUNK, Network
from wire.address import pack_address
from wire.keys import KeyRing

TRACE_LINES = 60
NATS, PORTS_OF_A_NAT = 3, 4
CLAIM_S = 0.05
CLAIM_RENEWAL = 20  # rounds
_HEARD_WITHIN_S = 0.4
_SWEPT_S = 2.0  # a round of the expiry over a whole table, and some


@dataclass(frozen=True)
class Scene:
    """How large the world of one seed is."""

    workers: int
    callers: int
    nodes: int


@dataclass
class World:
    """Everything there is. Times are virtual."""

    chance: random.Random
    scene: Scene
    ledger: Ledger = field(default_factory=Ledger)
    callers: list[Caller] = field(default_factory=list)
    transceivers: dict[int, Transceiver] = field(default_factory=dict)
    relay: Relay | None = None
    trace: deque[str] = field(default_factory=lambda: deque(maxlen=TRACE_LINES))
    total: Tally[str] = field(default_factory=Tally)

    def __post_init__(self) -> None:
        chance = self.chance
        self.oracle = Oracle(self.ledger, FLOW_IDLE_S * 1000)
        self.store = VanishingStore(chance)
        self.to_relay, self.from_relay = Network(chance, CALLERS), Network(chance, CALLERS)
        self.trunk = Network(chance, TRUNK)
        self.keys = Keys(_ring(chance, 1), _ring(chance, 1))
        self.salt = chance.getrandbits(32)
        self.posts: list[Post] = new_posts(chance, self.scene.workers)
        self.free_addresses = _nat_addresses(chance)
        self.retiring: Relay | None = None  # shares the sockets with its successor
        self.rotating = False
        self._tasks: list[asyncio.Task[None]] = []

    def note(self, event: str) -> None:
        """A line of the trace that a failing run prints."""
        self.trace.append(f"{asyncio.get_running_loop().time():8.4f} {event}")

    # making and ending

    def populate(self) -> None:
        """Transceivers, a relay, callers with a call each."""
        for index in range(1, self.scene.nodes + 1):
            self.add_transceiver(FlowOwner(index, self.chance.randrange(1, 65536)))
        self.open_relay()
        for number in range(self.scene.callers):
            address = self.free_addresses.pop()
            call = self.any_node().answer()
            caller = Caller(f"caller {number}", address, call, self.chance, self.ledger)
            self.callers.append(caller)
            self._tasks.append(asyncio.create_task(caller.run(self.send_up)))
        self._tasks.append(asyncio.create_task(self._claim_again()))

    async def _claim_again(self) -> None:
        """Every transceiver repeats its claims, the unanswered ones often."""
        while True:
            for turn in range(CLAIM_RENEWAL):
                await asyncio.sleep(CLAIM_S)
                for transceiver in self.transceivers.values():
                    if turn == 0:
                        transceiver.claims.renew()
                    transceiver.claims.repeat()

    def add_transceiver(self, owner: FlowOwner) -> Transceiver:
        """A transceiver on an index; it stands in the directory at once."""
        address = pack_address("10.0.1.1", self.chance.randrange(1024, 65536))
        made = Transceiver(
            owner,
            address,
            self.keys.token,
            self.keys.trunk,
            self.ledger,
            self.send_trunk,
            self.chance,
            unix_s,
        )
        self.transceivers[owner.node] = made
        return made

    def open_relay(self, predecessor: Relay | None = None) -> Relay:
        """A relay on the posts of now, with the directory of now."""
        self.relay = Relay(
            self.posts,
            self.keys,
            self.directory(),
            self.store,
            self.oracle,
            self.chance,
            self.send_to_node,
            self.send_down,
            predecessor,
        )
        return self.relay

    async def close_relay(self, relay: Relay) -> None:
        """End it, and keep its figures."""
        await relay.end()
        self.total.update(relay.figures())

    async def close(self) -> None:
        """End whatever runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for relay in (self.retiring, self.relay):
            if relay:
                await self.close_relay(relay)

    def directory(self) -> Nodes:
        """What the store of leases says now."""
        return {i: (t.owner.epoch, t.address) for i, t in self.transceivers.items()}

    # packets

    def send_up(self, address: bytes, packet: bytes) -> None:
        """From a client's address to the public port."""
        self.to_relay.carry(self.arrive_public, address, packet)

    def send_trunk(self, source: bytes, trunk_address: bytes, datagram: bytes) -> None:
        """From a trunk address to a relay worker's."""
        self.trunk.carry(self._arrive_trunk, source, trunk_address, datagram)

    def send_to_node(self, node: bytes, source: bytes, datagram: bytes) -> None:
        """From a relay worker to a transceiver."""
        self.trunk.carry(self._arrive_node, node, source, datagram)

    def send_down(self, address: bytes, packet: bytes) -> None:
        """From the public port to whoever has the address when it arrives."""
        self.from_relay.carry(self._arrive_client, address, packet)

    def arrive_public(self, address: bytes, packet: bytes) -> None:
        """A packet at the public port, if anybody has it open."""
        if self.posts:
            post = dealt(self.posts, address, self.salt)
            post.arrive(post.public, address, packet)

    def _arrive_trunk(self, source: bytes, trunk_address: bytes, datagram: bytes) -> None:
        for post in self.posts:
            if post.trunk_address == trunk_address:
                post.arrive(post.trunk, source, datagram)

    def _arrive_node(self, node: bytes, source: bytes, datagram: bytes) -> None:
        for transceiver in self.transceivers.values():
            if transceiver.address == node:
                transceiver.receive(source, datagram, unix_s())

    def _arrive_client(self, address: bytes, packet: bytes) -> None:
        for caller in self.callers:
            if caller.address == address:
                caller.receive(packet)

    # what trouble needs

    def later(self, delay_s: float, action: Callable[..., None], *arguments: object) -> None:
        """Do something after a while."""
        asyncio.get_running_loop().call_later(delay_s, action, *arguments)

    def any_node(self) -> Transceiver:
        """One of the transceivers."""
        return self.chance.choice(list(self.transceivers.values()))

    def any_caller(self) -> Caller:
        """One of the callers."""
        return self.chance.choice(self.callers)

    def holder(self, caller: Caller) -> FlowOwner:
        """Whose the caller's call is now."""
        return self.ledger.holders[caller.call.ufrag][-1]

    def paths(self) -> list[bytes]:
        """The relay workers that a transceiver of many calls has heard from."""
        return [post.trunk_address for post in self.posts]

    def transceiver(self, owner: FlowOwner) -> Transceiver | None:
        """The transceiver of an owner, if it is there."""
        found = self.transceivers.get(owner.node)
        return found if found and found.owner == owner else None

    def any_desk(self) -> Desk | None:
        """A worker's desk of the relay of now."""
        return self.chance.choice(self.relay.desks) if self.relay else None

    def tell_relay(self, index: int) -> None:
        """The directory's news of one index arrives at the relay."""
        transceiver = self.transceivers[index]
        if self.relay:
            self.relay.learn(index, transceiver.owner.epoch, transceiver.address)

    def dial(self, caller: Caller) -> Call:
        """The caller gets a new call from some transceiver."""
        before = self.transceiver(self.holder(caller))
        if before:
            before.claims.forget(caller.call.ufrag)
        call = self.any_node().answer()
        caller.take(call)
        return call

    # what must hold in the end

    async def end_well(self) -> None:
        """After the trouble every caller is heard and hears; after their calls nothing is left."""
        self.to_relay.weather = self.from_relay.weather = self.trunk.weather = CALM
        self.store.become(State.UP)
        await asyncio.sleep(1.0)
        for caller in self.callers:
            demand(caller.connected, "every caller is connected in the end", caller.name)
            caller.sent.clear()
        await asyncio.sleep(0.5)
        spoken = [(caller.name, packet) for caller in self.callers for packet in caller.sent]
        for caller in self.callers:
            caller.speaks = False
        await asyncio.sleep(_HEARD_WITHIN_S)
        for name, packet in spoken:
            demand(packet in self.ledger.arrived, "what is said in the end arrives", name, packet)
            demand(packet in self.ledger.echoed, "and its echo comes back", name, packet)
        await self._nothing_is_left()

    async def _nothing_is_left(self) -> None:
        await asyncio.sleep(FLOW_IDLE_S + _SWEPT_S)
        demand(self.relay, "a relay is there in the end")
        for desk in self.relay.desks if self.relay else ():
            demand(desk.worker, "every desk has its worker in the end")
            demand(len(desk.slot.flows) == 0, "no flow is left")
            demand(
                not (desk.worker and len(desk.worker.life.engine.parking)), "nor anything parked"
            )
        sent, framed = self.oracle.sent_bytes, self.oracle.framed_bytes
        demand(sent <= framed, "no byte more went to a client than a transceiver sent")


def _ring(chance: random.Random, key_id: int) -> KeyRing:
    return KeyRing(key_id, {key_id: chance.randbytes(32)})


def _nat_addresses(chance: random.Random) -> list[bytes]:
    """Addresses that carriers' NATs give out, few, so that they are used again."""
    hosts = [f"198.51.{100 + number}.1" for number in range(NATS)] + ["2001:db8:7::1"]
    places = [pack_address(host, 30_000 + port) for host in hosts for port in range(PORTS_OF_A_NAT)]
    chance.shuffle(places)
    return places
