"""How a worker gets back a flow that it does not know.

    unknown address ─▶ siblings' tables (shared memory) ─▶ taken over, forwarded in the same batch
                    ─▶ parked (`worker.parking`) ─▶ question to the supervisor, which asks the store
                                                ◀─ owner: flow made, packets forwarded in order
                                                ◀─ nobody's: dropped

A STUN request needs none of this, and wins over every answer: it is fresher and authenticated.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np

from datagram.mmsg import U64, ReceiveBatch, name_row, packed_address
from relay.shared import control
from relay.shared.control import Message
from relay.shared.counters import Counter, Counts, drop
from relay.shared.flows import FlowTable, Put, Slots
from relay.shared.memory import WorkerMemory
from relay.shared.nodes import NO_EPOCH, FlowOwner, NodeTable
from relay.shared.recovery_messages import (
    ADDRESSES_PER_MESSAGE,
    ASK,
    OWNERS,
    SIBLINGS,
    questions_message,
)
from relay.worker.claims import Claims
from relay.worker.parking import Parking, Verdict
from relay.worker.siblings import Sibling, Siblings
from relay.worker.trunk_writer import RoutedPacket, TrunkWriter

_PORT_SHIFT = np.uint64(16)
_PORT_MASK = np.uint64(0xFFFF)


def read_siblings(message: Message, fds: list[int]) -> list[Sibling] | None:
    """The tables behind descriptors that came with a message; None when it is about others."""
    tables: list[tuple[int, int | None]] | None = message.get(SIBLINGS)
    if tables is None:
        return None
    return [
        _sibling(WorkerMemory(fd, capacity), until_ms)
        for (capacity, until_ms), fd in zip(tables, fds, strict=True)
    ]


def _sibling(memory: WorkerMemory, until_ms: int | None) -> Sibling:
    return Sibling(memory.flows, memory.claims, memory.turns, until_ms)


class Recovery:
    """Stands behind an `Uplink`: takes what that cannot route, gives back what can be.

    Counts every packet it keeps, forwards and drops. Holds one batch's room of `received` while
    `lay_out` works, so call that between batches only.
    """

    def __init__(
        self,
        received: ReceiveBatch,
        flows: FlowTable,
        nodes: NodeTable,
        writer: TrunkWriter,
        counts: Counts,
        siblings: Siblings,
        parking: Parking,
        claims: Claims | None = None,
    ) -> None:
        self._received = received
        self._flows = flows
        self._nodes = nodes
        self._writer = writer
        self._counts = counts
        self._parking = parking
        self._siblings = siblings
        self._claims = claims
        self._due: deque[tuple[bytes, bytes, FlowOwner]] = deque()  # address, packet, owner

    def take_over(self, addresses: U64, ports: U64, now_ms: int) -> Slots:
        """Copy the flows of n unknown addresses from siblings; returns slots here, -1 for none."""
        owners, epochs = self._siblings.owners(addresses, ports, now_ms)
        self._claimed(addresses, ports, owners, epochs, now_ms)
        found = (owners >= 0).nonzero()[0]
        if not found.size:
            return owners
        hashes = self._flows.hashes(addresses, ports)
        for index in found.tolist():
            owner = FlowOwner(int(owners[index]), int(epochs[index]))
            port = int(ports[index])
            put = self._flows.put(hashes[index], addresses[index], port, *owner, now_ms)
            # A client's second packet of the batch finds the flow that its first one brought.
            self._counts[Counter.RECOVERED_SIBLING] += put in {Put.MADE, Put.EVICTED}
            self._counts[Counter.FLOWS_EVICTED] += put is Put.EVICTED
            if put is not Put.FULL and len(self._parking):
                # Or the store's answer, which may be older than the sibling's, would count.
                self._release(addresses[index].tobytes() + _port_bytes(port), owner)
        return self._flows.find(hashes, addresses, ports)

    def _claimed(
        self, addresses: U64, ports: U64, owners: Slots, epochs: Slots, now_ms: int
    ) -> None:
        """Correct owners by claims, which a table next door may not have followed yet."""
        if not self._claims or not self._claims.are_some:
            return
        for index in range(len(ports)):
            address = addresses[index].tobytes() + _port_bytes(int(ports[index]))
            if claimed := self._claims.owner_at(address, now_ms):
                owners[index], epochs[index] = claimed

    def park(self, indexes: Iterable[int], now_ms: int) -> None:
        """Keep packets from unknown addresses, or drop and count them."""
        received = self._received
        for index in indexes:
            address = packed_address(received.names[index])
            packet = received.slots[index, : received.lengths[index]].tobytes()
            verdict = self._parking.park(address, packet, now_ms)
            if verdict is Verdict.PARKED:
                self._counts[Counter.PARKED] += 1
            else:
                self._counts[drop(verdict.value)] += 1

    def checked_in(self, index: int, owner: FlowOwner) -> None:
        """A STUN request of the batch made or moved its address's flow."""
        address = packed_address(self._received.names[index])
        if address in self._parking:
            self._counts[Counter.RECOVERED_STUN] += 1
        self._release(address, owner)

    def hear(self, message: Message, fds: list[int], now_ms: int) -> None:
        """Take what the supervisor says about flows, and close the descriptors that came with it.

        Nothing else happens when it is about others.
        """
        try:
            siblings = read_siblings(message, fds)
        finally:
            for fd in fds:
                os.close(fd)
        if siblings is not None:
            self._siblings.add(siblings)
        owners: dict[str, Any] = message.get(OWNERS, {})
        for address, owner in owners.items():
            self._settle(bytes.fromhex(address), FlowOwner(*owner) if owner else None, now_ms)

    def ask(self, channel: socket.socket) -> None:
        """Send the supervisor what is to be asked. What it has no room for is lost, and counted."""
        for message in self._questions():
            try:
                control.send(channel, message)
            except OSError:
                self._counts[Counter.QUESTIONS_LOST] += len(message[ASK])

    def _questions(self) -> list[Message]:
        asked = self._parking.questions()
        return [
            questions_message(asked[at : at + ADDRESSES_PER_MESSAGE])
            for at in range(0, len(asked), ADDRESSES_PER_MESSAGE)
        ]

    def housekeep(self, now_ms: int) -> None:
        """Drop what has waited too long. Call it at least every 50 ms."""
        self._siblings.retire(now_ms)
        self._counts[Counter.DROP_PARKED_EXPIRED] += self._parking.expire(now_ms)
        self._counts[Counter.PARKED_NOW] = len(self._parking)

    def lay_out(self, unix_s: int) -> int:
        """Trunk datagrams for released packets, at most a batch; call again until it returns 0."""
        if not self._due:
            return 0
        count = min(len(self._due), self._received.capacity)
        packets = [self._load(row, *self._due.popleft()) for row in range(count)]
        packets.sort(key=_node)  # stable: each client's packets stay in order
        parts = [*self._writer.parts(packets)]
        datagrams = self._writer.write_few(parts, unix_s)
        self._counts[Counter.UP_SPLIT] += len(parts) - count
        self._counts[Counter.PARKED_RELEASED] += count
        self._counts[Counter.UP_FORWARDED] += count
        self._counts[Counter.UP_DATAGRAMS] += datagrams
        self._counts[Counter.PARKED_NOW] = len(self._parking)
        return datagrams

    def _settle(self, address: bytes, owner: FlowOwner | None, now_ms: int) -> None:
        if address not in self._parking:
            return  # too late, or a STUN request was quicker
        if self._claims:
            owner = self._claims.owner_at(address, now_ms) or owner
        if owner is None or self._nodes.epoch(owner.node) != owner.epoch:
            reason = self._reason(owner)
            self._counts[reason] += self._parking.refuse(address, now_ms)
            return
        words = name_row(address)[None, :]
        where, ports = words[:, 1:3], words[:, 0] >> _PORT_SHIFT & _PORT_MASK
        [hashed] = self._flows.hashes(where, ports)
        put = self._flows.put(hashed, where[0], int(ports[0]), *owner, now_ms)
        if put is Put.FULL:
            refused = self._parking.refuse(address, now_ms)
            self._counts[Counter.DROP_FLOW_TABLE_FULL] += refused
            return
        self._counts[Counter.RECOVERED_REDIS] += 1
        self._counts[Counter.FLOWS_EVICTED] += put is Put.EVICTED
        self._release(address, owner)

    def _reason(self, owner: FlowOwner | None) -> Counter:
        if owner is None:
            return Counter.DROP_UNKNOWN_ADDRESS
        gone = self._nodes.epoch(owner.node) == NO_EPOCH
        return Counter.DROP_UNKNOWN_NODE if gone else Counter.DROP_STALE_EPOCH

    def _release(self, address: bytes, owner: FlowOwner) -> None:
        for packet in self._parking.release(address):
            self._due.append((address, packet, owner))

    def _load(self, row: int, address: bytes, packet: bytes, owner: FlowOwner) -> RoutedPacket:
        """Put a packet where the kernel would have, so that it leaves like any other."""
        received, name = self._received, name_row(address)
        received.slots[row, : len(packet)] = np.frombuffer(packet, np.uint8)
        _, high, low, _ = name.tolist()
        port = int(name[0] >> _PORT_SHIFT & _PORT_MASK)
        return RoutedPacket(owner.node, row * received.slot_bytes, len(packet), high, low, port)


def _port_bytes(port: int) -> bytes:
    return port.to_bytes(2, "little")  # in words the packet's first byte is the lowest


def _node(packet: RoutedPacket) -> int:
    return packet.node
