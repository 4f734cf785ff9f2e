"""Whatever the processes of a relay say to each other: it is read, or counted, and nothing ends."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.shared import control, memory
from relay.shared.assignment import Assignment
from relay.shared.control import BadMessage
from relay.shared.counters import Counter
from relay.shared.fault_message import read_fault
from relay.shared.flows import FlowTable
from relay.shared.memory import LAYOUT, WorkerMemory
from relay.shared.nodes import SIZE_BYTES, NodeTable
from relay.shared.orders import Orders
from relay.shared.rates import Rates
from relay.shared.recovery_messages import read_questions
from relay.supervisor.handover import Handover, HandoverRefused, Inheritance, take
from relay.worker.loop import Worker
from relay.worker.siblings import Siblings
from tests.relay.kit import beside, client
from transceiver.engine.trunk_socket import TrunkSocket
from trunkline.process.address import Address

KEYS = "1:" + "74" * 32
NUMBERS = st.integers(-(2**70), 2**70) | st.sampled_from([0, 1, 2, 100, 65_535, 65_536])
ADDRESSES = st.binary(max_size=20).map(bytes.hex) | st.just(client(1).hex()) | st.text(max_size=5)
LEAVES = st.none() | st.booleans() | NUMBERS | st.floats() | ADDRESSES
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ADDRESSES, inner, max_size=3),
    max_leaves=8,
)
KINDS = ["ask", "owners", "siblings", "orders", "fault", "take", "relay", "tables", "capacity"]
FIELDS = [*KINDS, "cluster", "posts", "serving", "number", "token_keys", "rates", "watches"]
MESSAGES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5)
NUMBER = itertools.count()
QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a control channel."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield ends
    for end in ends:
        end.close()


@QUICK
@given(
    data=st.binary(min_size=1, max_size=60)
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.integers(1, 60_000).map(lambda depth: b"[" * depth),
    descriptors=st.integers(0, 3),
)
def test_any_bytes_are_a_message_or_none(
    pair: tuple[socket.socket, socket.socket], data: bytes, descriptors: int
) -> None:
    """Of what is no message no descriptor is left open."""
    ours, theirs = pair
    before = open_descriptors()
    socket.send_fds(theirs, [data], [theirs.fileno()] * descriptors)
    try:
        received = control.receive(ours)
    except BadMessage:
        assert open_descriptors() == before
    else:
        assert received is not None
        assert isinstance(received[0], dict)
        for fd in received[1]:
            os.close(fd)


def test_a_message_that_was_cut_leaves_no_descriptor(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """One that is longer than there is room for is refused, and the next one is read."""
    ours, theirs = pair
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    before = open_descriptors()
    long = json.dumps({"ask": "x" * control.MAX_MESSAGE_BYTES}).encode()
    socket.send_fds(theirs, [long], [theirs.fileno()])
    control.send(theirs, {"ask": []})
    with pytest.raises(BadMessage):
        control.receive(ours)
    assert open_descriptors() == before
    assert control.receive(ours) == ({"ask": []}, [])


@given(message=MESSAGES)
def test_what_a_worker_says_is_read_or_refused(message: dict[str, Any]) -> None:
    """Questions are addresses or a ValueError, a fault is a short line or nothing."""
    try:
        asked = read_questions(message)
    except ValueError:
        pass
    else:
        assert asked is None or all(len(address) == 18 for address in asked)
    said = read_fault(message)
    assert said is None or len(said) <= 200


class Stand:
    """A worker in this process, and the supervisor's end of its channel."""

    def __init__(self) -> None:
        self.public, self.trunk = (TrunkSocket(Address("127.0.0.1", 0)) for _ in range(2))
        self.supervisor, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.supervisor.setblocking(False)
        own = memory.create("test", WorkerMemory.size_bytes(100))
        shared = memory.create("test", memory.SHARED_BYTES)
        memory.shared_check_log(shared)
        fds = [self.public.fileno(), self.trunk.fileno(), own, shared]
        assignment = Assignment(0, 0, 100, 60.0, 8, 1400, 7, 100, 100, KEYS, KEYS, {"siblings": []})
        self.channel = channel
        self.worker = Worker(assignment, fds, channel)
        self.counts = self.worker._parts.counts
        self._orders = 0

    def say(self, message: dict[str, Any], fds: list[int]) -> None:
        control.send(self.supervisor, message, fds)
        self.worker._survive(self.worker._serve, self.channel.fileno(), 1.0)

    def still_follows(self) -> bool:
        self._orders += 1
        orders = Orders(self._orders, KEYS, KEYS, Rates())
        self.say(orders.message(), [])
        return self.worker._wanted and self.worker._parts.memory.telemetry.order == self._orders

    def close(self) -> None:
        for end in (self.public, self.trunk, self.supervisor, self.channel):
            end.close()
        for drops in self.worker._kernel_drops:
            drops.close()


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    it = Stand()
    yield it
    it.close()


@QUICK
@given(message=MESSAGES, descriptors=st.integers(0, 3))
def test_what_a_supervisor_says_ends_no_worker(
    stand: Stand, message: dict[str, Any], descriptors: int
) -> None:
    """It does what can be read, counts what cannot, closes what came beside, and hears the next."""
    small = memory.create("test", 4096)
    before = open_descriptors()
    faults = int(stand.counts[Counter.WORKER_FAULTS])
    stand.say(message, [small] * descriptors)
    assert open_descriptors() <= before
    assert int(stand.counts[Counter.WORKER_FAULTS]) - faults in (0, 1)
    assert stand.still_follows()
    stand.worker._survive(stand.worker._upkeep, 2.0)
    os.close(small)


@QUICK
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.01, 0.5, 1.0]))
def test_a_siblings_table_may_hold_anything(seed: int, share: float) -> None:
    """What is found in it is an owner with the epoch of now, or nobody."""
    chance = np.random.default_rng(seed)
    octets = bytearray(FlowTable.size_bytes(50))
    flows = FlowTable(memoryview(octets), 50)
    damage = chance.random(len(octets)) < share
    raw = np.frombuffer(octets, np.uint8)
    raw[damage] = chance.integers(0, 256, int(damage.sum()), np.uint8)
    nodes = NodeTable(memoryview(bytearray(SIZE_BYTES)))
    nodes.put(300, 41, client(5))
    siblings = Siblings(nodes, 60_000)
    siblings.add([beside(flows)])
    addresses = chance.integers(0, 2**64, (40, 2), np.uint64)
    ports = chance.integers(0, 2**16, 40).astype(np.uint64)
    owners, epochs = siblings.owners(addresses, ports, 1_000_000)
    for owner, epoch in zip(owners.tolist(), epochs.tolist(), strict=True):
        assert owner == -1 or (owner, epoch) == (300, 41)
    flows.rows(0, 50, 1_000_000)  # what an operator is shown


class Crowd:
    """What a hand-over needs of a crew."""

    def __init__(self) -> None:
        self.posts: list[Any] = []
        self.nodes_fd = memory.create("test", memory.SHARED_BYTES)
        self.told: list[Any] = []

    def read_too(self, tables: Any) -> None:
        self.told += tables


async def _say_all(sock: socket.socket, said: list[tuple[dict[str, Any], int]], fd: int) -> None:
    for message, descriptors in said:
        if not control.try_send(sock, message, [fd] * descriptors):
            return


CONVERSATIONS = st.lists(st.tuples(MESSAGES, st.integers(0, 4)), max_size=4)
GOOD = {"relay": LAYOUT, "cluster": 0, "posts": 1}


@QUICK
@given(said=CONVERSATIONS, begins_well=st.booleans())
def test_what_a_holder_says_is_an_inheritance_or_a_refusal(
    said: list[tuple[dict[str, Any], int]], begins_well: bool, tmp_path: Path
) -> None:
    """A successor that is told nonsense says so in one line; nothing else is raised."""
    path = tmp_path / str(next(NUMBER))

    async def run() -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        taking = asyncio.create_task(take(path, 0))
        holder, _ = await loop.sock_accept(listener)
        small = memory.create("test", 4096)
        with holder, listener:
            await _say_all(holder, [(GOOD, 1), *said] if begins_well else said, small)
            holder.shutdown(socket.SHUT_WR)
            try:
                inherited = await taking
            except HandoverRefused:
                pass
            else:
                assert isinstance(inherited, Inheritance)
                inherited.close()
        os.close(small)

    asyncio.run(run())


@QUICK
@given(said=CONVERSATIONS, begins_well=st.booleans())
def test_what_a_successor_says_leaves_the_holder_as_it_was(
    said: list[tuple[dict[str, Any], int]], begins_well: bool, tmp_path: Path
) -> None:
    """It breaks the conversation off, and the next one may come."""
    path = tmp_path / str(next(NUMBER))

    async def run() -> None:
        crew = Crowd()
        holder = Handover(path, crew, 0, lambda: None)  # type: ignore[arg-type]
        holder.open()
        small = memory.create("test", 4096)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as successor:
            successor.connect(str(path))
            take_it = ({"take": LAYOUT, "cluster": 0}, 0)
            await _say_all(successor, [take_it, *said] if begins_well else said, small)
            successor.shutdown(socket.SHUT_WR)
            while not holder._conversation:
                await asyncio.sleep(0)
            await asyncio.wait([holder._conversation])
            assert holder._conversation.exception() is None
        await holder.close()
        os.close(small)
        os.close(crew.nodes_fd)

    asyncio.run(run())
