"""Client → transceiver: a batch of packets in, a batch of trunk datagrams out.

No I/O and no clock. A batch goes through in whole-array steps; only STUN requests (one packet in
a hundred of a live call) and the cut into datagrams are looked at one by one:

    classify by first byte → STUN requests by ufrag, all others by address → group by node
    → cut into datagrams of at most an MTU → frame table and tags → iovecs

Payloads are never copied: the send batch points into the receive batch.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

from datagram.mmsg import ReceiveBatch, SendBatch
from relay.admission import Admission
from relay.counters import Counter, Counts, drop
from relay.flows import FlowTable, Put
from relay.nodes import NO_EPOCH, NodeTable
from wire.errors import WireError
from wire.trunk import (
    ENTRY_BYTES,
    HEADER_BYTES,
    MAX_FRAMES,
    TAG_BYTES,
    TAG_OFFSET,
    VERSION,
    FrameType,
    Tagger,
    max_payload,
)

if sys.byteorder != "little":  # the word layouts below are written for it
    raise ImportError("the relay's packet path needs a little-endian machine")

Indexes = npt.NDArray[np.int64]

SLOT_BYTES = 1536  # a whole Ethernet frame: what is larger than the trunk takes is counted
_NOT_WEBRTC, _STUN, _BY_ADDRESS = 0, 1, 2
_KINDS = np.zeros(256, np.uint8)  # RFC 7983 §7
_KINDS[0:4] = _STUN
_KINDS[20:64] = _BY_ADDRESS
_KINDS[128:192] = _BY_ADDRESS
_UNROUTED = -1
_WORDS = ENTRY_BYTES // 8
_PORT_SHIFT = np.uint64(16)
_TYPE_WORD = np.uint64(FrameType.DATAGRAM << 32)


class Uplink:
    """Routes one worker's received batches. Counts everything it drops."""

    def __init__(
        self,
        received: ReceiveBatch,
        flows: FlowTable,
        nodes: NodeTable,
        admission: Admission,
        tagger: Tagger,
        sender: int,
        counts: Counts,
        mtu: int,
    ) -> None:
        rows = 2 * received.capacity  # at worst a header row for every packet
        self.outgoing = SendBatch(received.capacity, parts=rows)
        self._received = received
        self._flows = flows
        self._nodes = nodes
        self._admission = admission
        self._tagger = tagger
        self._counts = counts
        self._mtu = mtu
        self._max_payload = max_payload(mtu)
        self._sender_word = int.from_bytes(sender.to_bytes(4), "little") << 32
        self._datagram_count = 0
        self._rows = np.zeros((rows, _WORDS), np.uint64)
        self._row_bytes = self._rows.data.cast("B")
        self._row_address = np.uint64(self._rows.ctypes.data)
        self._octets = received.slots.data.cast("B")

    def route(self, count: int, now_ms: int, unix_s: int) -> int:
        """Route the first `count` received packets; returns how many trunk datagrams to send."""
        received = self._received
        lengths = received.lengths[:count].astype(np.int64)
        self._counts[Counter.UP_BATCHES] += 1
        self._counts[Counter.UP_PACKETS] += count
        self._counts[Counter.UP_BYTES] += int(lengths.sum())
        owners = self._owners(count, lengths, now_ms)
        routed = np.flatnonzero(owners >= 0)
        if not routed.size:
            return 0
        nodes = owners[routed]
        if (nodes != nodes[0]).any():
            order = nodes.argsort(kind="stable")  # keeps each client's packets in order
            routed, nodes = routed[order], nodes[order]
        return self._pack(routed, nodes, lengths[routed], unix_s)

    def _owners(self, count: int, lengths: Indexes, now_ms: int) -> Indexes:
        """Node index for each packet, -1 for those that were dropped (and counted)."""
        received = self._received
        first_bytes = received.slots[:count, 0]
        kinds = _KINDS[first_bytes]
        sound = (lengths > 0) & (lengths <= self._max_payload) & (kinds != _NOT_WEBRTC)
        if not sound.all():
            self._count_unsound(lengths, sound)
        # Class bits 00 are a request (RFC 8489 §5); only requests carry USERNAME.
        is_request = (
            (kinds == _STUN)
            & ((first_bytes & 0x01) == 0)
            & ((received.slots[:count, 1] & 0x10) == 0)
        )
        owners: Indexes = np.full(count, _UNROUTED, np.int64)
        requests = np.flatnonzero(is_request & sound)
        if requests.size:
            self._route_requests(requests, owners, now_ms)
        others = np.flatnonzero(sound & ~is_request) if requests.size else np.flatnonzero(sound)
        if others.size:
            owners[others] = self._owners_by_address(others, now_ms)
        return owners

    def _count_unsound(self, lengths: Indexes, sound: npt.NDArray[np.bool_]) -> None:
        empty = np.count_nonzero(lengths == 0)
        oversize = np.count_nonzero(lengths > self._max_payload)
        self._counts[Counter.DROP_EMPTY] += empty
        self._counts[Counter.DROP_OVERSIZE] += oversize
        self._counts[Counter.DROP_NOT_WEBRTC] += np.count_nonzero(~sound) - empty - oversize

    def _owners_by_address(self, which: Indexes, now_ms: int) -> Indexes:
        slots, _, _ = self._find(which)
        nodes, epochs = self._flows.owners(slots)
        owners: Indexes = nodes.astype(np.int64)
        current = self._nodes.epochs(nodes)
        known = slots >= 0
        live = known & (current == epochs)
        if not live.all():
            unknown = np.count_nonzero(~known)
            gone = np.count_nonzero(known & (current == NO_EPOCH))
            self._counts[Counter.DROP_UNKNOWN_ADDRESS] += unknown
            self._counts[Counter.DROP_UNKNOWN_NODE] += gone
            self._counts[Counter.DROP_STALE_EPOCH] += (
                live.size - np.count_nonzero(live) - unknown - gone
            )
            owners[~live] = _UNROUTED
        self._flows.touch(slots[live], now_ms)
        return owners

    def _find(
        self, which: Indexes
    ) -> tuple[Indexes, npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        names = self._received.names[which]
        ports = names[:, 0] >> _PORT_SHIFT & np.uint64(0xFFFF)
        hashes = self._flows.hashes(names[:, 1:3], ports)
        return self._flows.find(hashes, names[:, 1:3], ports), hashes, ports

    def _route_requests(self, requests: Indexes, owners: Indexes, now_ms: int) -> None:
        self._counts[Counter.STUN_REQUESTS] += requests.size
        slots, hashes, ports = self._find(requests)
        for position, index in enumerate(requests):
            try:
                owners[index] = self._route_request(
                    int(index), int(slots[position]), hashes[position], int(ports[position]), now_ms
                )
            except WireError as error:
                self._counts[drop(error.reason)] += 1

    def _route_request(
        self, index: int, slot: int, hashed: np.uint64, port: int, now_ms: int
    ) -> int:
        """Node index for one STUN request, after its flow is made, moved or kept."""
        start = index * self._received.slot_bytes
        check = self._admission.read(
            bytes(self._octets[start : start + int(self._received.lengths[index])])
        )
        route = check.route
        current = self._nodes.epoch(route.node)
        if current != route.epoch:
            raise WireError("unknown_node" if current == NO_EPOCH else "stale_epoch")
        where = np.array([slot])
        nodes, epochs = self._flows.owners(where)
        if slot >= 0 and nodes[0] == route.node and epochs[0] == route.epoch:
            # Nothing would change: the owner checks integrity, as it must anyway.
            self._flows.touch(where, now_ms)
            return route.node
        self._admission.authenticate(check)
        address = self._received.names[index, 1:3]
        self._note(self._flows.put(hashed, address, port, route.node, route.epoch, now_ms))
        return route.node

    def _note(self, outcome: Put) -> None:
        if outcome is Put.FULL:
            raise WireError("flow_table_full")
        if outcome is Put.MOVED:
            self._counts[Counter.FLOWS_MOVED] += 1
            return
        self._counts[Counter.FLOWS_MADE] += 1
        self._counts[Counter.FLOWS_EVICTED] += outcome is Put.EVICTED

    def _pack(self, packets: Indexes, nodes: Indexes, lengths: Indexes, unix_s: int) -> int:
        """Lay out trunk datagrams for `packets` (sorted by node) in the outgoing batch."""
        number = self._cut(nodes.tolist(), lengths.tolist())
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        frame_counts = np.diff(starts, append=packets.size)
        # One row of the table, and one iovec, for each header and each frame, in wire order.
        frame_rows = np.arange(packets.size) + number + 1
        header_rows = starts + np.arange(starts.size)
        self._write_table(frame_rows, packets, lengths)
        self._write_headers(header_rows, frame_counts, unix_s)

        out, received = self.outgoing, self._received
        out.part_bases[header_rows] = self._row_address + (header_rows * ENTRY_BYTES).astype(
            np.uint64
        )
        out.part_lengths[header_rows] = HEADER_BYTES + ENTRY_BYTES * frame_counts
        out.part_bases[frame_rows] = received.address + packets * received.slot_bytes
        out.part_lengths[frame_rows] = lengths
        out.gather(header_rows.astype(np.uint64), (frame_counts + 1).astype(np.uint64))
        out.names[: starts.size] = self._nodes.names[nodes[starts]]
        self._counts[Counter.UP_FORWARDED] += packets.size
        self._counts[Counter.UP_DATAGRAMS] += starts.size
        return int(starts.size)

    def _cut(self, nodes: list[int], lengths: list[int]) -> Indexes:
        """The datagram each packet goes into; a new one for each node, MTU and MAX_FRAMES."""
        numbers = []
        number, node_before, size, frames = -1, -1, 0, 0
        for node, length in zip(nodes, lengths, strict=True):
            size += ENTRY_BYTES + length
            if node != node_before or size > self._mtu or frames == MAX_FRAMES:
                number, node_before, frames = number + 1, node, 0
                size = HEADER_BYTES + ENTRY_BYTES + length
            frames += 1
            numbers.append(number)
        return np.array(numbers)

    def _write_table(self, rows: Indexes, packets: Indexes, lengths: Indexes) -> None:
        names = self._received.names[packets]
        sizes = lengths.astype(np.uint16).byteswap().astype(np.uint64)
        self._rows[rows, 0:2] = names[:, 1:3]
        self._rows[rows, 2] = (
            (names[:, 0] >> _PORT_SHIFT & np.uint64(0xFFFF)) | sizes << _PORT_SHIFT | _TYPE_WORD
        )

    def _write_headers(self, rows: Indexes, frame_counts: Indexes, unix_s: int) -> None:
        count = rows.size
        fixed = VERSION | self._tagger.key_id << 8 | self._sender_word
        self._rows[rows, 0] = np.uint64(fixed) | frame_counts.astype(np.uint64) << np.uint64(16)
        numbers = np.arange(self._datagram_count, self._datagram_count + count, dtype=np.uint64)
        self._datagram_count += count
        swapped_time = int.from_bytes((unix_s & 0xFFFFFFFF).to_bytes(4), "little")
        swapped = numbers.astype(np.uint32).byteswap().astype(np.uint64)
        self._rows[rows, 1] = swapped << np.uint64(32) | np.uint64(swapped_time)
        octets, tag = self._row_bytes, self._tagger.tag
        for row, frames in zip(rows.tolist(), frame_counts.tolist(), strict=True):
            start = row * ENTRY_BYTES
            table = octets[start + HEADER_BYTES : start + HEADER_BYTES + frames * ENTRY_BYTES]
            head_end = start + TAG_OFFSET
            octets[head_end : head_end + TAG_BYTES] = tag(octets[start:head_end], table)
