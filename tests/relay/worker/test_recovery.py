"""A worker's recovery without sockets: siblings, parked packets, answers, STUN that wins."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from datagram.mmsg import U64
from relay.shared import control, memory
from relay.shared.counters import Counter
from relay.shared.memory import Table, WorkerMemory
from relay.shared.nodes import FlowOwner
from relay.shared.rates import Rates
from relay.shared.recovery_messages import owners_message, read_questions, siblings_message
from relay.worker.limits import BURST_S
from relay.worker.parking import Parking
from relay.worker.recovery import Recovery
from relay.worker.siblings import LOOKUPS_PER_S, Nodes, Siblings
from tests.relay import kit
from tests.relay.kit import (
    EPOCH,
    NODE,
    NODE_ADDRESS,
    NOW_MS,
    NOW_S,
    Plane,
    beside,
    check,
    client,
    ufrag,
)
from wire import trunk
from wire.address import pack_address

IDLE_MS = 60_000


class World:
    """A plane that recovers, a sibling's plane, and the supervisor's end of the channel."""

    def __init__(self, parking: Parking | None = None) -> None:
        self.plane, self.next_door = Plane(), Plane()
        self.supervisor, self.channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.supervisor.setblocking(False)
        self.siblings = Siblings(self.plane.nodes, IDLE_MS)
        self.siblings.add([beside(self.next_door.flows)])
        self.recovery = Recovery(
            self.plane.from_clients,
            self.plane.flows,
            self.plane.nodes,
            self.plane.writer,
            self.plane.counts,
            self.siblings,
            Parking(packets=200, questions_per_s=100) if parking is None else parking,
        )
        self.plane.uplink._recovery = self.recovery

    def asked(self) -> list[bytes]:
        """What the supervisor is asked now."""
        self.recovery.ask(self.channel)
        received = control.receive(self.supervisor)
        assert received
        return read_questions(received[0]) or []

    def tell(self, address: bytes, owner: FlowOwner | None) -> None:
        self.recovery.hear(owners_message({address: owner}), [], NOW_MS)

    def released(self) -> list[tuple[bytes, bytes]]:
        """The frames that leave, of all datagrams."""
        frames: list[tuple[bytes, bytes]] = []
        while count := self.recovery.lay_out(NOW_S):
            for _, data in kit.unload(self.plane.writer.outgoing, count):
                frames += trunk.read(self.plane.tagger, data).frames
        return frames

    def close(self) -> None:
        self.supervisor.close()
        self.channel.close()


@pytest.fixture
def world() -> Iterator[World]:
    """A world of one worker and one sibling."""
    made = World()
    yield made
    made.close()


def media(number: int) -> bytes:
    return kit.media(50, number)


def owner_of(plane: Plane) -> FlowOwner:
    """The owner of the only flow in a table."""
    [row], _ = plane.flows.rows(0, 10, NOW_MS)
    return FlowOwner(row.node, row.epoch)


def test_a_flow_next_door_is_taken_over_in_the_same_batch(world: World) -> None:
    """The sibling made it; here its packets leave at once, and it stands in our table after."""
    me = client(1)
    world.next_door.up([(me, check(ufrag()))])
    [(address, datagram)] = world.plane.up([(me, media(1)), (me, media(2))])
    assert address == NODE_ADDRESS
    assert datagram.frames == ((me, media(1)), (me, media(2)))
    assert world.plane.count(Counter.RECOVERED_SIBLING) == 1
    assert len(world.plane.flows) == 1
    assert world.plane.drops() == {}


def test_a_flow_next_door_of_an_old_epoch_is_nobodys(world: World) -> None:
    """The node index has a new owner: its packets must not go there."""
    me = client(1)
    world.next_door.up([(me, check(ufrag()))])
    world.plane.nodes.put(NODE, EPOCH + 1, NODE_ADDRESS)
    assert world.plane.up([(me, media(1))]) == []
    assert world.plane.count(Counter.PARKED) == 1


def test_a_flow_next_door_that_idled_too_long_is_nobodys(world: World) -> None:
    """The sibling has not swept it yet, but its time is over."""
    me = client(1)
    world.next_door.up([(me, check(ufrag()))])
    assert world.plane.up([(me, media(1))], NOW_MS + IDLE_MS) == []
    assert len(world.plane.flows) == 0


def test_the_freshest_of_two_siblings_is_right(world: World) -> None:
    """An address that moved stands in two tables; the one that saw it last knows."""
    third, me = Plane(), client(1)
    for plane in (world.plane, third):
        plane.nodes.put(9, 1, NODE_ADDRESS)
    world.next_door.up([(me, check(ufrag()))], NOW_MS)
    third.up([(me, check(ufrag(9, 1)))], NOW_MS + 5)
    world.siblings.add([beside(third.flows)])
    world.plane.up([(me, media(1))], NOW_MS + 10)
    assert owner_of(world.plane) == FlowOwner(9, 1)


def test_look_ups_next_door_are_bounded_per_second(world: World) -> None:
    """Strangers cannot have a worker read its siblings' tables all day."""
    for _ in range(LOOKUPS_PER_S):
        world.siblings._tables(NOW_MS)
    assert world.siblings._tables(NOW_MS) == []
    assert world.siblings._tables(NOW_MS + 1000) != []


def test_a_table_is_let_go_when_its_time_is_over(world: World) -> None:
    """The tables of a relay that is no more are read as long as a flow in them can be live."""
    world.siblings.add([beside(Plane().flows, until_ms=NOW_MS)])
    world.recovery.housekeep(NOW_MS - 1)
    assert len(world.siblings) == 2
    world.recovery.housekeep(NOW_MS)
    assert len(world.siblings) == 1


def test_tables_come_with_descriptors(world: World) -> None:
    """A table named in a message is mapped, and its descriptor is closed."""
    fd = memory.create("test", WorkerMemory.size_bytes(100))
    world.recovery.hear(siblings_message([Table(fd, 100)]), [fd], NOW_MS)
    assert len(world.siblings) == 2
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_parked_packets_leave_in_order_when_the_answer_comes(world: World) -> None:
    """One question, then the flow stands and all that waited goes to its node."""
    me = client(1)
    assert world.plane.up([(me, media(n)) for n in range(3)]) == []
    assert world.asked() == [me]
    world.tell(me, FlowOwner(NODE, EPOCH))
    assert world.released() == [(me, media(n)) for n in range(3)]
    assert world.plane.count(Counter.RECOVERED_REDIS) == 1
    assert world.plane.count(Counter.UP_PACKETS) == world.plane.count(Counter.UP_FORWARDED) == 3
    [(_, datagram)] = world.plane.up([(me, media(9))])
    assert datagram.frames == ((me, media(9)),)


def test_more_than_a_batch_is_released_in_several(world: World) -> None:
    """Released packets beyond one batch's room follow in the next call, each client's in order."""
    clients = [client(number) for number in range(5)]
    for me in clients:
        world.plane.up([(me, media(n)) for n in range(20)])
    for me in clients:
        world.tell(me, FlowOwner(NODE, EPOCH))
    released = world.released()
    assert len(released) == 100
    for me in clients:
        own = [packet for address, packet in released if address == me]
        assert own == [media(n) for n in range(20)]


@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        (None, "unknown_address"),
        (FlowOwner(NODE, EPOCH + 1), "stale_epoch"),
        (FlowOwner(NODE + 1, EPOCH), "unknown_node"),
    ],
)
def test_an_answer_that_helps_nobody_drops(
    world: World, owner: FlowOwner | None, reason: str
) -> None:
    """Nobody's address, an old epoch, an unknown node: dropped, and not asked about again."""
    me = client(1)
    world.plane.up([(me, media(1))])
    world.tell(me, owner)
    assert world.plane.drops() == {reason: 1}
    world.plane.up([(me, media(2))])
    assert world.plane.count(Counter.PARKED) == 1
    assert len(world.plane.flows) == 0


def test_stun_wins_over_an_answer_that_comes_later(world: World) -> None:
    """The address is another caller's now: the cached owner is not believed."""
    me = client(1)
    world.plane.nodes.put(9, 1, NODE_ADDRESS)
    world.plane.up([(me, media(1))])
    world.plane.up([(me, check(ufrag(9, 1)))])
    assert world.released() == [(me, media(1))]
    assert world.plane.count(Counter.RECOVERED_STUN) == 1
    world.tell(me, FlowOwner(NODE, EPOCH))
    assert owner_of(world.plane) == FlowOwner(9, 1)
    assert world.plane.count(Counter.RECOVERED_REDIS) == 0


def test_an_answer_nobody_waits_for_makes_no_flow(world: World) -> None:
    """Too late, or never asked: an answer alone changes nothing."""
    world.tell(client(1), FlowOwner(NODE, EPOCH))
    assert len(world.plane.flows) == 0


def test_no_answer_in_time_is_its_own_reason(world: World) -> None:
    """Housekeeping drops and counts; the gauge follows."""
    world.plane.up([(client(1), media(1))])
    world.recovery.housekeep(NOW_MS)
    assert world.plane.count(Counter.PARKED_NOW) == 1
    world.recovery.housekeep(NOW_MS + 300)
    assert world.plane.count(Counter.PARKED_NOW) == 0
    assert world.plane.drops() == {"parked_expired": 1}


def test_a_flood_of_strangers_is_bounded_and_counted() -> None:
    """Questions run out, every further packet has its reason, and no flow is made."""
    world = World(Parking(packets=10, questions_per_s=1))
    for batch in range(4):
        world.plane.up([(client(batch * 50 + n), media(n)) for n in range(50)])
    assert world.plane.count(Counter.PARKED) == 5
    assert world.plane.drops() == {"not_asked": 195}
    assert len(world.plane.flows) == 0
    world.close()


def test_questions_that_the_supervisor_does_not_read_are_lost_and_counted(world: World) -> None:
    """A full channel neither blocks the worker nor grows."""
    world.channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    for number in range(100):
        world.plane.up([(client(number), media(1))])
        world.recovery.ask(world.channel)
    assert world.plane.count(Counter.QUESTIONS_LOST) > 0


def test_strangers_beyond_their_budget_are_not_looked_up_next_door(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood costs the siblings as many look-ups as the flood's prefix has packets to spend."""
    looked_up: list[int] = []
    owners = Siblings.owners

    def counted(self: Siblings, addresses: U64, ports: U64, now_ms: int) -> tuple[Nodes, Nodes]:
        looked_up.append(len(ports))
        return owners(self, addresses, ports, now_ms)

    monkeypatch.setattr(Siblings, "owners", counted)
    world.plane.uplink._limits.change(Rates(strangers=10))
    flood = [pack_address("203.0.113.9", 1024 + number) for number in range(60)]
    for _ in range(20):
        world.plane.up([(address, media(1)) for address in flood])
    assert sum(looked_up) == 10 * BURST_S
    assert world.plane.count(Counter.DROP_RATE_LIMITED) == 20 * 60 - 10 * BURST_S


def test_one_packet_within_the_budget_brings_the_flow_for_all_of_its_batch(world: World) -> None:
    """A limited packet is forwarded after all when an earlier one has brought its flow."""
    me = client(1)
    world.next_door.up([(me, check(ufrag()))])
    world.plane.uplink._limits.change(Rates(strangers=1))
    sent = world.plane.up([(me, media(number)) for number in range(40)])
    assert sum(len(datagram.frames) for _, datagram in sent) == 40
    assert world.plane.drops() == {}


def test_a_flow_next_door_wins_over_an_answer_that_comes_later(world: World) -> None:
    """Its check arrived next door while the store was asked: the store's owner is the older one."""
    me = client(1)
    for plane in (world.plane, world.next_door):
        plane.nodes.put(9, 1, NODE_ADDRESS)
    world.plane.up([(me, media(1))])
    world.next_door.up([(me, check(ufrag(9, 1)))])
    world.plane.up([(me, media(2))])
    assert world.released() == [(me, media(1))]
    world.tell(me, FlowOwner(NODE, EPOCH))
    assert owner_of(world.plane) == FlowOwner(9, 1)
    assert world.plane.drops() == {}
