"""The uplink for a handful of packets of known flows, one by one.

Array operations cost about 100 µs a batch before the first packet, which an idle relay would add
to every packet. This path costs a few µs a packet, but knows only the common case: a packet that
follows its flow. Anything else in the batch, and the whole batch goes the array way.
"""

from __future__ import annotations

import struct

import numpy as np

from datagram.mmsg import ReceiveBatch
from relay.shared.flows import FlowTable
from relay.shared.nodes import NodeTable
from relay.worker.trunk_writer import RoutedPacket, TrunkWriter

FEW = 20  # packets; from about here on a batch is cheaper by arrays
MAX_HINTS = 65_536

_NAME = struct.Struct("<QQQ8x")  # see datagram.mmsg


class FewUplink:
    """Routes small batches. A hint is where an address's flow stood last; the table decides."""

    def __init__(
        self,
        received: ReceiveBatch,
        flows: FlowTable,
        nodes: NodeTable,
        writer: TrunkWriter,
        max_payload: int,
        by_address: frozenset[int],
    ) -> None:
        self._slot_bytes = received.slot_bytes
        self._octets = received.slots.data.cast("B")
        self._names = received.names.data.cast("B")
        self._received_names = received.names
        self._lengths = received.lengths.data
        self._flows = flows
        self._nodes = nodes
        self._writer = writer
        self._max_payload = max_payload
        self._by_address = by_address
        self._hints: dict[tuple[int, int, int], int] = {}

    def route(self, count: int, now_ms: int, unix_s: int) -> int | None:
        """How many trunk datagrams to send; None when the batch is not of the common kind."""
        packets: list[RoutedPacket] = []
        slots: list[int] = []
        for index in range(count):
            length, start = self._lengths[index], index * self._slot_bytes
            if not (0 < length <= self._max_payload and self._octets[start] in self._by_address):
                return None
            word, high, low = _NAME.unpack_from(self._names, index * _NAME.size)
            port = word >> 16 & 0xFFFF
            slot = self._slot(index, high, low, port)
            node, epoch = self._flows.owner(slot)
            if slot < 0 or self._nodes.epoch(node) != epoch:
                return None
            packets.append(RoutedPacket(node, start, length, high, low, port))
            slots.append(slot)
        for slot in slots:
            self._flows.touch_one(slot, now_ms)
        if count > 1:
            packets.sort(key=_node)  # stable: each client's packets stay in order
        return self._writer.write_few(packets, unix_s)

    def _slot(self, index: int, high: int, low: int, port: int) -> int:
        """The flow's slot, -1 if there is none."""
        key = (high, low, port)
        slot = self._hints.get(key, -1)
        if slot >= 0 and self._flows.stands_at(slot, high, low, port):
            return slot
        addresses = self._received_names[index : index + 1, 1:3]
        ports = np.array([port], np.uint64)
        slot = int(self._flows.find(self._flows.hashes(addresses, ports), addresses, ports)[0])
        if slot >= 0:
            if len(self._hints) >= MAX_HINTS:
                self._hints.clear()
            self._hints[key] = slot
        return slot


def _node(packet: RoutedPacket) -> int:
    return packet.node
