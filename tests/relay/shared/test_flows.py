"""The flow table against a slow dictionary, and at its bounds."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from datagram.mmsg import name_row
from relay.shared.flows import SLOT_BYTES, WAYS, FlowTable, Put
from tests.relay.kit import client

IDLE_MS = 1000


def table(capacity: int) -> FlowTable:
    return FlowTable(memoryview(bytearray(FlowTable.size_bytes(capacity))), capacity)


def columns(addresses: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    names = np.array([name_row(address) for address in addresses])
    return names[:, 1:3], names[:, 0] >> np.uint64(16) & np.uint64(0xFFFF)


def put(flows: FlowTable, address: bytes, node: int, now_ms: int, epoch: int = 1) -> Put:
    words, ports = columns([address])
    hashed = flows.hashes(words, ports)[0]
    return flows.put(hashed, words[0], int(ports[0]), node, epoch, now_ms)


def find(flows: FlowTable, addresses: list[bytes]) -> list[int | None]:
    words, ports = columns(addresses)
    slots = flows.find(flows.hashes(words, ports), words, ports)
    nodes, _ = flows.owners(slots)
    return [int(node) if slot >= 0 else None for slot, node in zip(slots, nodes, strict=True)]


class AgainstDictionary(RuleBasedStateMachine):
    """Any sequence of put, touch, wait and expire leaves table and dictionary saying the same."""

    addresses = 61
    capacity = 40

    def __init__(self) -> None:
        super().__init__()
        self.buffer = memoryview(bytearray(FlowTable.size_bytes(self.capacity)))
        self.flows = self.opened()
        self.model: dict[bytes, tuple[int, int, int]] = {}  # address → node, epoch, last seen
        self.now_ms = 2**32 - 3000  # the clock's low 32 bits wrap on the way

    def opened(self) -> FlowTable:
        """The table over this machine's memory."""
        return FlowTable(self.buffer, self.capacity)

    @rule(number=st.integers(0, 1000), node=st.integers(0, 3), epoch=st.integers(0, 2))
    def put(self, number: int, node: int, epoch: int) -> None:
        address = client(number % self.addresses)
        outcome = put(self.flows, address, node, self.now_ms, epoch)
        known = self.model.get(address)
        if known is None and len(self.model) >= self.capacity:
            assert outcome is Put.FULL
            return
        same = known is not None and known[:2] == (node, epoch)
        assert outcome is (Put.MADE if known is None else Put.KEPT if same else Put.MOVED)
        self.model[address] = node, epoch, self.now_ms

    @rule(numbers=st.lists(st.integers(0, 1000), min_size=1, max_size=8))
    def touch(self, numbers: list[int]) -> None:
        chosen = [client(number % self.addresses) for number in numbers]
        live = [address for address in chosen if address in self.model]
        if live:
            words, ports = columns(live)
            slots = self.flows.find(self.flows.hashes(words, ports), words, ports)
            self.flows.touch(slots, self.now_ms)
        for address in live:
            self.model[address] = *self.model[address][:2], self.now_ms

    @rule(ms=st.integers(1, 700))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def expire(self) -> None:
        dead = [a for a, (_, _, seen) in self.model.items() if self.now_ms - seen > IDLE_MS]
        slices = -(-self.flows.slot_count // 16)
        removed = sum(self.flows.expire(self.now_ms, IDLE_MS, 16) for _ in range(slices))
        assert removed == len(dead)
        for address in dead:
            del self.model[address]

    @rule()
    def a_successor_opens_it(self) -> None:
        self.flows = self.opened()

    @invariant()
    def same_answers(self) -> None:
        addresses = [client(number) for number in range(self.addresses)]
        words, ports = columns(addresses)
        slots = self.flows.find(self.flows.hashes(words, ports), words, ports)
        nodes, epochs = (column.tolist() for column in self.flows.owners(slots))
        found = [
            (node, epoch) if slot >= 0 else None
            for slot, node, epoch in zip(slots.tolist(), nodes, epochs, strict=True)
        ]
        assert found == [self.model[a][:2] if a in self.model else None for a in addresses]
        assert len(self.flows) == len(self.model)

    @invariant()
    def same_listing(self) -> None:
        rows, more = self.flows.rows(0, 100, self.now_ms)
        assert more is None
        listed = {r.address: (r.node, r.epoch, self.now_ms - r.idle_ms) for r in rows}
        assert listed == self.model


class OneHash(FlowTable):
    """A table in which all addresses collide: same two buckets, same tag."""

    def hashes(self, addresses: np.ndarray, ports: np.ndarray) -> np.ndarray:
        return np.full(len(ports), 0x1234_5679_0000_0001, np.uint64)


class CollidingAgainstDictionary(AgainstDictionary):
    """The same when every look-up finds the wrong flow first: the whole address decides."""

    addresses = 2 * WAYS - 1  # what two buckets hold without giving any up

    def opened(self) -> FlowTable:
        return OneHash(self.buffer, self.capacity)


_STEPS = settings(max_examples=30, stateful_step_count=40, deadline=None)
AgainstDictionary.TestCase.settings = CollidingAgainstDictionary.TestCase.settings = _STEPS
TestAgainstDictionary = AgainstDictionary.TestCase
TestCollidingAgainstDictionary = CollidingAgainstDictionary.TestCase


def test_a_table_filled_to_capacity_holds_every_flow() -> None:
    """At the design load nothing is evicted, and every address is found again."""
    flows = table(21_845)
    addresses = [client(number) for number in range(21_845)]
    outcomes = {put(flows, address, number % 7, 0) for number, address in enumerate(addresses)}
    assert outcomes == {Put.MADE}
    assert find(flows, addresses) == [number % 7 for number in range(21_845)]
    assert put(flows, client(60_000), 1, 0) is Put.FULL


def test_an_overfull_pair_of_buckets_gives_up_its_longest_idle_flow() -> None:
    """With every slot of its pair taken a new flow replaces the one idle longest, and says so."""
    flows = table(4)  # one bucket: both choices are the same eight slots
    assert flows.slot_count == WAYS
    flows.capacity = WAYS + 1
    for number in range(WAYS):
        put(flows, client(number), 1, now_ms=number)
    assert put(flows, client(20), 2, now_ms=100) is Put.EVICTED
    assert find(flows, [client(0), client(1), client(20)]) == [None, 1, 2]
    assert len(flows) == WAYS


def test_two_tables_over_one_buffer_are_one_table() -> None:
    """A respawned worker, and a sibling, see what was learned."""
    buffer = memoryview(bytearray(FlowTable.size_bytes(100)))
    put(FlowTable(buffer, 100), client(1), 5, 0)
    again = FlowTable(buffer, 100)
    assert find(again, [client(1)]) == [5]
    assert len(again) == 1


def test_pages_of_a_listing_cover_every_flow_once() -> None:
    """Paging through the table neither repeats nor leaves out."""
    flows = table(500)
    for number in range(300):
        put(flows, client(number), 1, 0)
    seen: list[bytes] = []
    start: int | None = 0
    while start is not None:
        rows, start = flows.rows(start, 37, 0)
        seen += [row.address for row in rows]
    assert len(seen) == len(set(seen)) == 300


def test_memory_per_flow_is_within_its_budget() -> None:
    """At most 200 bytes for each flow of the capacity, for any capacity worth configuring."""
    for capacity in (1000, 50_000, 100_000, 699_051, 1_000_000):
        assert FlowTable.size_bytes(capacity) / capacity <= 200
    assert SLOT_BYTES == 32
