"""Both ends of the trunk over real sockets, at every size that it may have."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from datagram.mmsg import ReceiveBatch
from tests.relay.kit import (
    EPOCH,
    NODE,
    NOW_MS,
    TRUNK_KEYS,
    Plane,
    check,
    client,
    load,
    media,
    ufrag,
    unload,
)
from transceiver.engine.trunk_port import TrunkPort
from transceiver.engine.trunk_socket import TrunkSocket
from trunkline.process.address import Address
from wire.address import pack_address
from wire.token import Route
from wire.trunk import LARGEST_MTU, SMALLEST_MTU, longest_packet, max_payload

MTUS = [SMALLEST_MTU, 1400, 2048, 2049, 4000, LARGEST_MTU]
CALLERS = 40
ROUTE = Route(7, NODE, EPOCH)


def now_s() -> int:
    return int(time.time())


def packed(address: Address) -> bytes:
    return pack_address(address.host, address.port)


class Trunk:
    """A relay worker's data plane and a transceiver's port, with a socket pair between them."""

    def __init__(self, mtu: int, stack: ExitStack, relay_mtu: int | None = None) -> None:
        self.counters: Counter[str] = Counter()
        faults: list[Exception] = []
        stack.callback(lambda: pytest.fail(repr(faults)) if faults else None)
        self.port = TrunkPort(TRUNK_KEYS, mtu, self.counters, faults.append)
        bound = self.port.open(Address("127.0.0.1", 0)).address
        stack.callback(self.port.close)
        self.relay_socket = TrunkSocket(Address("127.0.0.1", 0))
        stack.callback(self.relay_socket.close)
        self.relay = packed(self.relay_socket.address)
        self.plane = Plane(batch=64, mtu=relay_mtu or mtu)
        self.plane.nodes.put(NODE, EPOCH, packed(bound))
        self.calls = [ufrag() for _ in range(CALLERS)]
        for number, call in enumerate(self.calls):
            self.up([(client(number), check(call))])
        assert len(list(self.received())) == CALLERS

    def up(self, packets: list[tuple[bytes, bytes]]) -> None:
        """A batch of callers' packets, out on the relay's trunk socket."""
        load(self.plane.from_clients, packets)
        datagrams = self.plane.uplink.route(len(packets), NOW_MS, now_s())
        sent = self.plane.writer.outgoing.send(self.relay_socket.fileno(), datagrams)
        assert sent == (datagrams, 0)

    def received(self) -> Iterator[tuple[bytes, bytes]]:
        """What the transceiver has of it."""
        while some := list(self.port.receive(time.monotonic())):
            for source, frames in some:
                assert source == self.relay
                yield from frames


@pytest.mark.parametrize("mtu", MTUS)
def test_packets_of_every_size_go_up_undamaged(mtu: int) -> None:
    """Whole batches of the largest, of the smallest and of all between, byte for byte."""
    longest = longest_packet(mtu)
    sizes = [longest, max_payload(mtu), max_payload(mtu) + 1, 1425, 1500, 2048, 40, 160]
    sizes = [size for size in sizes if size <= longest]
    with ExitStack() as stack:
        trunk = Trunk(mtu, stack)
        for size in (*sizes, None):
            packets = [
                (client(n % CALLERS), media(size or sizes[n % len(sizes)], n % 251))
                for n in range(64)
            ]
            trunk.up(packets)
            assert sorted(trunk.received()) == sorted(packets)
        assert trunk.plane.drops() == {}
        assert not trunk.counters
        trunk.up([(client(1), media(longest + 1))])
        assert trunk.plane.drops() == {"oversize": 1}


@pytest.mark.parametrize("mtu", MTUS)
def test_packets_of_every_size_go_down_undamaged(mtu: int) -> None:
    """More than one system call's worth of full datagrams, and none writes over another."""
    with ExitStack() as stack:
        trunk = Trunk(mtu, stack)
        trunk.relay_socket._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        plane, received = trunk.plane, trunk.plane.from_nodes
        for size in (max_payload(mtu), max_payload(mtu) - 1, 40, 700):
            packets = [(client(n % CALLERS), media(size, n % 251)) for n in range(150)]
            for address, packet in packets:
                assert trunk.port.put(trunk.relay, address, packet)
            trunk.port.flush(ROUTE)
            got: list[tuple[bytes, bytes]] = []
            while count := received.receive(trunk.relay_socket.fileno()):
                got += sent(plane, received, count)
            assert got == packets
        assert plane.drops() == {}
        assert not trunk.port.put(trunk.relay, client(1), bytes(max_payload(mtu) + 1))
        assert trunk.counters["out_oversize"] == 1
        assert not trunk.counters["out_lost"]


def sent(plane: Plane, received: ReceiveBatch, count: int) -> list[tuple[bytes, bytes]]:
    assert not received.flags[:count].any()  # MSG_TRUNC
    return unload(plane.downlink.outgoing, plane.downlink.unpack(count, NOW_MS, now_s()))


@pytest.mark.parametrize(("theirs", "ours"), [(LARGEST_MTU, 1400), (1400, LARGEST_MTU)])
def test_ends_of_different_sizes_understand_each_other(theirs: int, ours: int) -> None:
    """While the setting is changed one process at a time, nothing is cut."""
    with ExitStack() as stack:
        trunk = Trunk(ours, stack, relay_mtu=theirs)
        packets = [(client(n), media(1300, n)) for n in range(CALLERS)]
        trunk.up(packets)
        assert sorted(trunk.received()) == sorted(packets)
        for address, packet in packets:
            trunk.port.put(trunk.relay, address, packet)
        trunk.port.flush(ROUTE)
        count = trunk.plane.from_nodes.receive(trunk.relay_socket.fileno())
        assert sent(trunk.plane, trunk.plane.from_nodes, count) == packets


def test_a_datagram_longer_than_the_setting_is_refused_before_it_is_staged() -> None:
    """It would write over the one beside it."""
    socket_ = TrunkSocket(Address("127.0.0.1", 0), 1400)
    try:
        with pytest.raises(ValueError, match="MTU"):
            socket_.send([(bytes(1401), pack_address("127.0.0.1", 9))])
    finally:
        socket_.close()
