"""A relay data plane without sockets: packets go into the receive batches by hand."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

from datagram.mmsg import ReceiveBatch, SendBatch, name_row, packed_address
from relay.shared.claims import ClaimMaps, Turns
from relay.shared.counters import COUNTER_ROOM, Counter, named
from relay.shared.flows import FlowTable
from relay.shared.nodes import SIZE_BYTES, NodeTable
from relay.worker import downlink, uplink
from relay.worker.admission import Admission
from relay.worker.siblings import Sibling
from relay.worker.trunk_writer import TrunkWriter
from wire import stun, token, trunk
from wire.address import pack_address
from wire.keys import KeyRing
from wire.replay import ReplayWindow
from wire.token import Route
from wire.trunk import Tagger

CLUSTER = 7
NODE, EPOCH = 300, 41
SENDER = 0xABCD0123
NOW_MS, NOW_S = 5_000_000, 1_700_000_000
TOKEN_KEYS = KeyRing(1, {1: b"t" * 32})
TRUNK_KEYS = KeyRing(2, {2: b"k" * 32})
NODE_ADDRESS = pack_address("127.0.0.1", 7000)


@dataclass
class Plane:
    """One worker's uplink and downlink over memory of its own."""

    batch: int = 64
    capacity: int = 1000
    mtu: int = 1400
    counts: np.ndarray = field(default_factory=lambda: np.zeros(COUNTER_ROOM, np.uint64))

    def __post_init__(self) -> None:
        self.flows = FlowTable(
            memoryview(bytearray(FlowTable.size_bytes(self.capacity))), self.capacity
        )
        self.nodes = NodeTable(memoryview(bytearray(SIZE_BYTES)))
        self.nodes.put(NODE, EPOCH, NODE_ADDRESS)
        self.tagger = Tagger(TRUNK_KEYS)
        self.from_clients = ReceiveBatch(self.batch, uplink.slot_bytes(self.mtu))
        self.writer = TrunkWriter(self.from_clients, self.nodes, self.tagger, SENDER, self.mtu)
        self.uplink = uplink.Uplink(
            self.from_clients,
            self.flows,
            self.nodes,
            Admission(TOKEN_KEYS, CLUSTER),
            self.writer,
            self.counts,
            self.mtu,
        )
        self.from_nodes = ReceiveBatch(self.batch, trunk.SLOT_BYTES)
        self.downlink = downlink.Downlink(
            self.from_nodes, self.nodes, self.tagger, ReplayWindow(), self.counts
        )

    def up(
        self, packets: list[tuple[bytes, bytes]], now_ms: int = NOW_MS
    ) -> list[tuple[bytes, trunk.Datagram]]:
        """Route (client address, packet) pairs; returns (node address, trunk datagram) pairs."""
        load(self.from_clients, packets)
        count = self.uplink.route(len(packets), now_ms, NOW_S)
        sent = unload(self.writer.outgoing, count)
        assert all(len(data) <= self.mtu for _, data in sent)
        return [(address, trunk.read(self.tagger, data)) for address, data in sent]

    def down(self, datagrams: list[bytes]) -> list[tuple[bytes, bytes]]:
        """Unpack trunk datagrams; returns (client address, packet) pairs."""
        load(self.from_nodes, [(NODE_ADDRESS, data) for data in datagrams])
        return unload(self.downlink.outgoing, self.downlink.unpack(len(datagrams), NOW_MS, NOW_S))

    def drops(self) -> dict[str, int]:
        """The drop counters that are not zero, without their prefix."""
        return {
            name.removeprefix("drop_"): value
            for name, value in named(self.counts).items()
            if name.startswith("drop_") and value
        }

    def count(self, counter: Counter) -> int:
        return int(self.counts[counter])


def beside(flows: FlowTable, until_ms: int | None = None) -> Sibling:
    """A worker next door that has these flows, and where nobody has claimed anything."""
    claims = ClaimMaps(bytearray(ClaimMaps.SIZE_BYTES))
    return Sibling(flows, claims, Turns(memoryview(bytearray(8)).cast("Q")), until_ms)


def load(batch: ReceiveBatch, packets: list[tuple[bytes, bytes]]) -> None:
    """Put packets where the kernel would."""
    for row, (address, packet) in enumerate(packets):
        seen = packet[: batch.slot_bytes]
        batch.slots[row, : len(seen)] = np.frombuffer(seen, np.uint8)
        batch.lengths[row] = len(seen)
        batch.names[row] = name_row(address)


def unload(batch: SendBatch, count: int) -> list[tuple[bytes, bytes]]:
    """What the kernel would send: address and gathered bytes of each message."""
    return [(packed_address(batch.names[row]), gathered(batch, row)) for row in range(count)]


def gathered(batch: SendBatch, row: int) -> bytes:
    import ctypes

    header = batch._headers[row]
    first = (int(header["iov"]) - batch._parts.ctypes.data) // batch._parts.itemsize
    parts = batch._parts[first : first + int(header["iov_count"])]
    return b"".join(ctypes.string_at(int(part["base"]), int(part["len"])) for part in parts)


def client(number: int) -> bytes:
    """The address of a client; every third one speaks IPv6."""
    if number % 3:
        return pack_address(f"10.1.{number >> 8}.{number & 255}", 40_000 + number % 20_000)
    return pack_address(f"2001:db8::{number:x}", 40_000 + number % 20_000)


def ufrag(
    node: int = NODE, epoch: int = EPOCH, cluster: int = CLUSTER, keys: KeyRing = TOKEN_KEYS
) -> str:
    return token.mint(keys, Route(cluster, node, epoch), os.urandom(4))


def check(
    server_ufrag: str,
    password: str | None = None,
    username: bytes | None = None,
    transaction_id: bytes | None = None,
) -> bytes:
    """A Binding Request as a browser sends it."""
    if password is None:
        password = token.password(TOKEN_KEYS, server_ufrag)
    name = username if username is not None else f"{server_ufrag}:clnt".encode()
    attributes = [(stun.Attribute.USERNAME, name), (stun.Attribute.PRIORITY, b"\x6e\x00\x1e\xff")]
    return stun.write(
        stun.Method.BINDING,
        stun.MessageClass.REQUEST,
        transaction_id or os.urandom(12),
        attributes,
        password,
    )


def media(size: int = 100, fill: int = 0x55) -> bytes:
    """An SRTP-looking packet."""
    return b"\x80\x6f" + bytes([fill]) * (size - 2)


def from_node(
    *frames: tuple[bytes, bytes],
    count: int = 1,
    sender: int = NODE << 16 | EPOCH,
    keys: KeyRing = TRUNK_KEYS,
    time_s: int = NOW_S,
) -> bytes:
    """A trunk datagram as a transceiver sends it."""
    return trunk.pack(Tagger(keys), sender, time_s, count, list(frames))
