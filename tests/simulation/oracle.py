"""What a relay may do with each packet, said once more, slowly, with dictionaries.

The oracle reads what every worker was given and what it made of it. It demands of each packet that
it went where it must, or nowhere if it must not, and that its bytes are the same. It knows the
rules and the order of a batch (requests first), and nothing of arrays, hashes and shared memory.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from datagram.mmsg import packed_address
from relay.shared.counters import Counter
from relay.shared.nodes import FlowOwner, NodeTable
from relay.worker.parking import MAX_UNKNOWN, PACKETS_PER_ADDRESS
from relay.worker.uplink_few import MAX_HINTS
from tests.relay.engine import Engine, Packets
from tests.simulation.claim_book import ClaimBook, Flow
from tests.simulation.ledger import Ledger, SentDatagram, demand
from wire import claim, trunk
from wire.claim import node_and_epoch
from wire.keys import KeyRing
from wire.trunk import FrameType, Tagger

SETTLED_S = 1.0  # after so long with a whole store it has what the workers have


@dataclass
class Life:
    """One worker process: what it is built on, whom it reads, what it has parked and heard."""

    engine: Engine
    flows: dict[bytes, Flow]  # of its slot: they outlive it
    nodes: NodeTable
    transactions: dict[bytes, bytes]  # of its relay: transaction → address it was first seen from
    book: ClaimBook
    siblings: list[dict[bytes, Flow]] = field(default_factory=list)
    waiting: dict[bytes, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    heard: set[bytes] = field(default_factory=set)  # trunk datagrams
    trunk_keys: KeyRing | None = None
    # In the worker's hands until its turn ends: whose and to whom, up and down.
    going_up: list[tuple[FlowOwner, bytes]] = field(default_factory=list)
    going_down: list[tuple[FlowOwner, bytes]] = field(default_factory=list)

    def current(self, owner: FlowOwner) -> bool:
        """Whether the directory, as this relay knows it, has that owner, who is not fenced."""
        is_known = self.nodes.epoch(owner.node) == owner.epoch
        return is_known and owner not in self.book.fenced

    def place(self, owner: FlowOwner) -> bytes:
        """The trunk address of an owner."""
        return packed_address(self.nodes.names[owner.node])


class Frames:
    """The frames of a batch's trunk datagrams, taken out one by one as they are explained."""

    def __init__(self, datagrams: Packets, keys: KeyRing) -> None:
        self._left: Tally[tuple[bytes, bytes, bytes]] = Tally()
        self.order: list[tuple[bytes, bytes]] = []
        tagger = Tagger(keys)
        for node, data in datagrams:
            demand(len(data) <= trunk.DEFAULT_MTU, "a trunk datagram fits the MTU", len(data))
            for address, payload in trunk.read(tagger, data).frames:
                self._left[node, address, payload] += 1
                self.order.append((address, payload))

    def take(self, node: bytes, address: bytes, payload: bytes) -> bool:
        """Whether such a frame was left, which then is no more."""
        key = node, address, payload
        if not self._left[key]:
            return False
        self._left[key] -= 1
        return True

    def left(self) -> list[tuple[bytes, bytes, bytes]]:
        """Node, client and payload of what nobody has taken."""
        return list(self._left.elements())


class Oracle:
    """Holds every worker to the rules. Raises `ViolationError`."""

    def __init__(self, ledger: Ledger, flow_idle_ms: int) -> None:
        self._ledger = ledger
        self._idle_ms = flow_idle_ms
        self.owners: dict[bytes, set[FlowOwner]] = defaultdict(set)  # ever, by an address's checks
        self._latest: dict[bytes, tuple[FlowOwner, float]] = {}  # and since when
        self._disturbed_s: list[float] = []
        self.framed_bytes: Tally[bytes] = Tally()  # to each client, in datagrams a worker took
        self.sent_bytes: Tally[bytes] = Tally()

    # the way up

    def up(self, life: Life, packets: Packets, datagrams: Packets, now_ms: int) -> None:
        """One batch of clients' packets, and what came of it."""
        demand(life.trunk_keys, "a life has keys")
        frames = Frames(datagrams, life.trunk_keys or KeyRing(0, {}))
        requests = [packet for packet in packets if packet[1] and packet[1][0] <= 3]
        for address, payload in requests:
            self._request(life, frames, address, payload, now_ms)
        others = [packet for packet in packets if not packet[1] or packet[1][0] > 3]
        for address, payload in others:
            self._other(life, frames, address, payload, now_ms)
        self._in_order(others, frames.order)
        self._released(life, frames)
        self._books(life)

    def _request(
        self, life: Life, frames: Frames, address: bytes, payload: bytes, now_ms: int
    ) -> None:
        sent = self._ledger.checks.get(payload)
        if sent is None or sent.address != address:
            return  # forged, or recorded: a frame of it would be left over
        owner = life.book.calls.get(sent.ufrag, sent.owner)
        if not life.current(owner):
            return
        repeated = sent.transaction_id in life.transactions
        life.transactions[sent.transaction_id] = address
        flow = life.flows.get(address)
        if repeated and flow and flow.owner != owner:
            return  # a late copy moves nothing
        place = life.place(owner)
        demand(frames.take(place, address, payload), "a good check is forwarded", address, payload)
        if flow is None or flow.owner != owner:
            life.book.checked(address, owner)
        life.flows[address] = Flow(owner, now_ms)
        life.going_up.append((owner, address))
        self._note_owner(address, owner, now_ms)

    def _note_owner(self, address: bytes, owner: FlowOwner, now_ms: int) -> None:
        self.owners[address].add(owner)
        if self._latest.get(address, (None,))[0] != owner:
            self._latest[address] = owner, now_ms / 1000

    def _other(
        self, life: Life, frames: Frames, address: bytes, payload: bytes, now_ms: int
    ) -> None:
        flow = life.flows.get(address) or self._next_door(life, frames, address, payload, now_ms)
        if flow is None:
            life.waiting[address].append(payload)
            return
        if not life.current(flow.owner):
            return
        place = life.place(flow.owner)
        demand(frames.take(place, address, payload), "media follows its flow", address, flow)
        life.flows[address] = Flow(flow.owner, now_ms)
        life.going_up.append((flow.owner, address))

    def _next_door(
        self, life: Life, frames: Frames, address: bytes, payload: bytes, now_ms: int
    ) -> Flow | None:
        """The freshest flow of a sibling; of two equally fresh ones that which was taken."""
        if self._ledger.source(payload) != address:
            return None  # a stranger, perhaps beyond his budget: a frame of it would be left over
        claimed = life.book.addresses.get(address)
        if claimed and life.current(claimed):
            return Flow(claimed, now_ms)
        flows = [table[address] for table in life.siblings if address in table]
        live = [f for f in flows if now_ms - f.seen_ms < self._idle_ms and life.current(f.owner)]
        freshest = [f for f in live if f.seen_ms == max(flow.seen_ms for flow in live)]
        if len({flow.owner for flow in freshest}) > 1:
            places = _places(frames, address)
            return next((f for f in freshest if life.place(f.owner) in places), freshest[0])
        return freshest[0] if freshest else None

    def _released(self, life: Life, frames: Frames) -> None:
        """What is left must have waited, and go where its address's flow goes now."""
        for node, address, payload in frames.left():
            demand(payload in life.waiting[address], "nothing else is forwarded", address, payload)
            flow = life.flows.get(address)
            demand(flow and life.place(flow.owner) == node, "what waited follows", address, flow)
            life.waiting[address].remove(payload)
            if flow:
                life.going_up.append((flow.owner, address))

    def _in_order(self, others: Packets, order: Sequence[tuple[bytes, bytes]]) -> None:
        """Each client's packets leave as they came."""
        given = set(others)
        mine = [packet for packet in order if packet in given]
        for address in {address for address, _ in others}:
            # Of copies the first counts: another may have waited, and leaves after the batch.
            left = dict.fromkeys(payload for client, payload in mine if client == address)
            rest = iter(dict.fromkeys(payload for client, payload in others if client == address))
            demand(all(payload in rest for payload in left), "packets keep their order", address)

    def _books(self, life: Life) -> None:
        engine = life.engine
        went = engine.count(Counter.UP_FORWARDED) + engine.dropped_up() + len(engine.parking)
        lost = engine.slot.lost_parked
        demand(went + lost == engine.count(Counter.UP_PACKETS), "every packet is in the books")

    # answers of the store

    def disturb(self, now_ms: int) -> None:
        """A relay came or went: what was learned about now may not have reached the store."""
        self._disturbed_s.append(now_ms / 1000)

    def answered(
        self,
        life: Life,
        answers: Mapping[bytes, FlowOwner | None],
        now_ms: int,
        store_broken_s: float,
    ) -> None:
        """The store's answers, before the worker hears them; when it last was not whole."""
        for address, owner in answers.items():
            if address not in life.engine.parking:
                continue
            claimed = life.book.addresses.get(address)
            if claimed and life.current(claimed):
                demand(address not in life.flows, "nobody waits who has a flow", address)
                life.flows[address] = Flow(claimed, now_ms)
                continue
            if owner is None:
                continue
            demand(address not in life.flows, "nobody waits who has a flow", address)
            demand(owner in self.owners[address], "the store knows owners that were", address)
            latest, since_s = self._latest[address]
            settled = now_ms / 1000 > since_s + SETTLED_S and store_broken_s < since_s
            if settled and not self._was_disturbed(since_s):
                demand(owner == latest, "the store knows the latest owner", address)
            if life.current(owner):
                life.flows[address] = Flow(owner, now_ms)

    def claimed(self, life: Life, datagram: SentDatagram, now_ms: int) -> None:
        """A datagram of claims that is to be believed, as far as its owners are known."""
        for frame in datagram.frames:
            said = claim.read(*frame)
            owner = FlowOwner(*node_and_epoch(said.owner))
            if not life.current(owner):
                continue
            life.book.carry_out(said)
            if said.address in self.owners:
                holds = life.book.addresses.get(said.address)
                if holds == owner and self._latest[said.address][0] != owner:
                    self._latest[said.address] = owner, now_ms / 1000
            self.owners[said.address].add(owner)

    def answered_claims(self, life: Life, datagrams: Packets) -> None:
        """What a worker tells the owners, when it tells them."""
        keys = life.trunk_keys or KeyRing(0, {})
        for _, data in datagrams:
            read = trunk.read(Tagger(keys), data)
            demand(read.first is FrameType.CLAIMED, "only claims are answered", read.first)
            for frame in read.frames:
                life.book.answered(claim.read(*frame))

    def leaves(self, life: Life) -> None:
        """The end of a turn: what the worker had in its hands goes on its way now."""
        for owner, address in life.going_down:
            demand(owner not in life.book.silenced, "a fenced owner is silent", owner, address)
        for owner, address in life.going_up:
            settled = life.book.settled.get(address, owner)
            demand(settled == owner, "after CLAIMED packets go to the owner", owner, settled)
        life.going_up.clear()
        life.going_down.clear()

    def _was_disturbed(self, since_s: float) -> bool:
        first, last = since_s - SETTLED_S, since_s + SETTLED_S
        return any(first <= moment_s <= last for moment_s in self._disturbed_s)

    def released(self, life: Life, datagrams: Packets) -> None:
        """What an answer set free."""
        self._released(life, Frames(datagrams, life.trunk_keys or KeyRing(0, {})))
        self._books(life)

    # the way down

    def down(self, life: Life, datagrams: Packets, packets: Packets, now_ms: int) -> None:
        """One batch of trunk datagrams, and the packets that came of it."""
        expected: Packets = []
        for source, data in datagrams:
            if not self._is_taken(life, source, data):
                continue
            life.heard.add(data)
            sent = self._ledger.datagrams[data]
            if sent.kind is FrameType.CLAIM:
                self.claimed(life, sent, now_ms)
                continue
            expected += sent.frames
            life.going_down += [(sent.owner, address) for address, _ in sent.frames]
        demand(packets == expected, "just what transceivers sent goes to clients", len(packets))
        for address, payload in packets:
            demand(address in self.owners, "nothing goes to a stranger", address)
            self.sent_bytes[address] += len(payload)
        for address, payload in expected:
            self.framed_bytes[address] += len(payload)

    def _is_taken(self, life: Life, source: bytes, data: bytes) -> bool:
        sent = self._ledger.datagrams.get(data)
        return (
            sent is not None
            and life.current(sent.owner)
            and life.place(sent.owner) == source == sent.source
            and life.trunk_keys is not None
            and sent.key_id in life.trunk_keys.keys
            and data not in life.heard
        )

    # at all times

    def housekept(self, life: Life, now_ms: int) -> None:
        """After a round of housekeeping: the table is the dictionary, and every bound holds."""
        engine = life.engine
        rows, more = engine.flows.rows(0, engine.flows.capacity, now_ms)
        demand(more is None and len(rows) == len(engine.flows), "the table counts its flows")
        table = {r.address: Flow(FlowOwner(r.node, r.epoch), now_ms - r.idle_ms) for r in rows}
        for address in life.flows.keys() - table.keys():
            idle_ms = now_ms - life.flows.pop(address).seen_ms
            demand(idle_ms > self._idle_ms, "only idle flows are forgotten", address, idle_ms)
        demand(table == life.flows, "the table is the dictionary", table, life.flows)
        demand(table.keys() <= self.owners.keys(), "no flow without a check")
        self._forget_waiting(life)
        self._bounds(engine)

    def _forget_waiting(self, life: Life) -> None:
        for address in [address for address in life.waiting if address not in life.engine.parking]:
            del life.waiting[address]

    def _bounds(self, engine: Engine) -> None:
        demand(len(engine.parking) <= engine.bounds.parking_packets, "parking is bounded")
        demand(engine.parking.remembered <= MAX_UNKNOWN, "strangers are forgotten")
        demand(len(engine.uplink._few._hints) <= MAX_HINTS, "hints are bounded")
        demand(not engine.recovery._due, "nothing that is due stays")
        for lot in engine.parking._lots.values():
            demand(len(lot.packets) <= PACKETS_PER_ADDRESS, "one address's packets are bounded")


def _places(frames: Frames, address: bytes) -> Iterable[bytes]:
    return {node for node, client, _ in frames.left() if client == address}
