"""Lays out trunk datagrams for received packets, as rows and iovecs; copies no payload.

The 24 bytes of a header and of a table entry are rows of three words. Row r and iovec r belong
together: for each datagram one header row, whose iovec also covers the entries behind it, then
one row for each frame, whose iovec points at the payload where the kernel put it.
"""

from __future__ import annotations

import itertools
import struct
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datagram.mmsg import NAME_WORDS, ReceiveBatch, SendBatch
from relay.shared.nodes import NodeTable
from wire.trunk import (
    ENTRY_BYTES,
    HEADER_BYTES,
    MAX_FRAMES,
    TAG_BYTES,
    TAG_OFFSET,
    TAGGED_FROM,
    VERSION,
    FrameType,
    Tagger,
    max_payload,
    pack,
)

if sys.byteorder != "little":  # the word layouts below are written for it
    raise ImportError("the relay's packet path needs a little-endian machine")

Indexes = npt.NDArray[np.int64]

_WORDS = ENTRY_BYTES // 8
_16, _32 = np.uint64(16), np.uint64(32)
_PORT = np.uint64(0xFFFF)
_U32 = 0xFFFFFFFF
_ROW = struct.Struct("<QQQ")
_LEAD = struct.Struct("!BBBB")
_ORIGIN = struct.Struct("!III")
_TYPE_SHIFT = 32  # in the last word of an entry
_DATAGRAM = FrameType.DATAGRAM << _TYPE_SHIFT
_HEAD, _TAIL = FrameType.HEAD << _TYPE_SHIFT, FrameType.TAIL << _TYPE_SHIFT


class RoutedPacket(NamedTuple):
    """A packet of the batch (or a part of one), where it goes, its client's address as words."""

    node: int
    start: int  # in the batch's memory
    length: int
    high: int
    low: int
    port: int  # 16 bits as in the packet
    kind: int = _DATAGRAM


class _Parts(NamedTuple):
    """n frames as columns: packets of the batch, their lengths, starts in memory and types."""

    packets: Indexes
    lengths: Indexes
    starts: Indexes
    kinds: npt.NDArray[np.uint64] | np.uint64


class TrunkWriter:
    """Fills `outgoing` from packets of `received`."""

    def __init__(
        self,
        received: ReceiveBatch,
        nodes: NodeTable,
        tagger: Tagger,
        sender: int,
        mtu: int,
    ) -> None:
        frames = 2 * received.capacity  # at worst every packet is too long for one
        rows = 2 * frames  # and every frame has a datagram of its own
        self.outgoing = SendBatch(frames, parts=rows)
        self._received = received
        self._nodes = nodes
        self._tagger = tagger
        self._room = mtu - HEADER_BYTES
        self._max_payload = max_payload(mtu)
        self._sender = sender
        self._sent_count = 0
        self._lead_word = np.uint64(VERSION | tagger.key_id << 8)
        self._sender_word = np.uint64(int.from_bytes(sender.to_bytes(4), "little") << 32)
        self._rows = np.zeros((rows, _WORDS), np.uint64)
        self._octets = self._rows.data.cast("B")
        self._tags = self._rows.view(np.uint8)[:, TAG_OFFSET:TAGGED_FROM]
        self._address = self._rows.ctypes.data
        self._numbers = np.arange(rows)

    def rotate(self, tagger: Tagger) -> None:
        """Other keys from the next batch on."""
        self._tagger = tagger
        self._lead_word = np.uint64(VERSION | tagger.key_id << 8)

    def write(self, packets: Indexes, nodes: Indexes, lengths: Indexes, unix_s: int) -> int:
        """Datagrams for `packets` (indexes into the batch, sorted by node); returns how many.

        None is longer than `max_payload` of the MTU; `write_long` is for those.
        """
        starts = packets * self._received.slot_bytes
        return self._write(_Parts(packets, lengths, starts, np.uint64(_DATAGRAM)), nodes, unix_s)

    def write_long(self, packets: Indexes, nodes: Indexes, lengths: Indexes, unix_s: int) -> int:
        """`write` for packets of which some are too long for one frame: these become two."""
        is_long = lengths > self._max_payload
        repeats = 1 + is_long
        # A head is as long as it can be, so it fills its datagram and its tail begins the next.
        tails = (repeats.cumsum() - 1)[is_long]
        packets, nodes, lengths = (each.repeat(repeats) for each in (packets, nodes, lengths))
        starts = packets * self._received.slot_bytes
        kinds = np.full(packets.size, _DATAGRAM, np.uint64)
        lengths[tails] -= self._max_payload
        lengths[tails - 1] = self._max_payload
        starts[tails] += self._max_payload
        kinds[tails - 1], kinds[tails] = _HEAD, _TAIL
        return self._write(_Parts(packets, lengths, starts, kinds), nodes, unix_s)

    def _write(self, frames: _Parts, nodes: Indexes, unix_s: int) -> int:
        starts = self._cut(nodes, frames.lengths)
        count, total = starts.size, nodes.size
        frame_counts = np.empty(count, np.int64)
        frame_counts[:-1] = starts[1:] - starts[:-1]
        frame_counts[-1] = total - starts[-1]
        header_rows = starts + self._numbers[:count]
        frame_rows = self._numbers[:total] + self._numbers[1 : count + 1].repeat(frame_counts)
        self._write_table(frame_rows, frames)
        self._write_headers(header_rows, frame_counts, unix_s)

        out = self.outgoing
        out.part_bases[header_rows] = header_rows * ENTRY_BYTES + self._address
        out.part_lengths[header_rows] = frame_counts * ENTRY_BYTES + HEADER_BYTES
        out.part_bases[frame_rows] = frames.starts + self._received.address
        out.part_lengths[frame_rows] = frames.lengths
        out.gather(header_rows.astype(np.uint64), (frame_counts + 1).astype(np.uint64))
        out.names[:count] = self._nodes.names[nodes[starts]]
        return count

    def control(self, kind: FrameType, frames: Sequence[tuple[bytes, bytes]], unix_s: int) -> bytes:
        """A datagram of control frames. Between two batches only: it takes a count of its own."""
        count, self._sent_count = self._sent_count, self._sent_count + 1 & _U32
        return pack(self._tagger, self._sender, unix_s & _U32, count, frames, kind)

    def parts(self, packets: Iterable[RoutedPacket]) -> Iterator[RoutedPacket]:
        """The packets, those that are too long for one frame as two."""
        longest = self._max_payload
        for packet in packets:
            if packet.length <= longest:
                yield packet
            else:
                start, length = packet.start + longest, packet.length - longest
                yield packet._replace(length=longest, kind=_HEAD)
                yield packet._replace(start=start, length=length, kind=_TAIL)

    def write_few(self, packets: Sequence[RoutedPacket], unix_s: int) -> int:
        """`write` for a handful of packets, sorted by node, without array operations."""
        datagrams = row = 0
        rest = deque(packets)
        while rest:
            row = self._write_one(datagrams, row, rest, unix_s)
            datagrams += 1
        return datagrams

    def _write_one(
        self, datagram: int, header_row: int, rest: deque[RoutedPacket], unix_s: int
    ) -> int:
        """Lay out one datagram of what fits at the head of `rest`; returns the next free row."""
        received, parts, octets = self._received, self.outgoing.part_words, self._octets
        node, room, row = rest[0].node, self._room, header_row
        while rest and rest[0].node == node and row - header_row < MAX_FRAMES:
            packet = rest[0]
            room -= ENTRY_BYTES + packet.length
            if room < 0:
                break
            rest.popleft()
            row += 1
            swapped = (packet.length & 0xFF) << 8 | packet.length >> 8
            word = packet.port | swapped << 16 | packet.kind
            _ROW.pack_into(octets, row * ENTRY_BYTES, packet.high, packet.low, word)
            parts[2 * row] = received.address + packet.start
            parts[2 * row + 1] = packet.length
        frames = row - header_row
        self._write_header(header_row, frames, unix_s)
        parts[2 * header_row] = self._address + header_row * ENTRY_BYTES
        parts[2 * header_row + 1] = HEADER_BYTES + frames * ENTRY_BYTES
        self.outgoing.gather_one(datagram, header_row, frames + 1)
        words = datagram * NAME_WORDS
        self.outgoing.name_words[words : words + NAME_WORDS] = self._nodes.name(node)
        return row + 1

    def _write_header(self, row: int, frames: int, unix_s: int) -> None:
        start = row * ENTRY_BYTES
        octets = self._octets
        _LEAD.pack_into(octets, start, VERSION, self._tagger.key_id, frames, 0)
        _ORIGIN.pack_into(
            octets, start + TAGGED_FROM, self._sender, unix_s & _U32, self._sent_count
        )
        self._sent_count = self._sent_count + 1 & _U32
        self._tag(row, frames)

    def _tag(self, row: int, frames: int) -> None:
        start = row * ENTRY_BYTES
        end = start + HEADER_BYTES + frames * ENTRY_BYTES
        tag = self._tagger.tag(self._octets[start + TAGGED_FROM : end])
        self._octets[start + TAG_OFFSET : start + TAGGED_FROM] = tag

    def _cut(self, nodes: Indexes, lengths: Indexes) -> Indexes:
        """Index of the first packet of each datagram: a new one per node, MTU and MAX_FRAMES."""
        sizes = lengths + ENTRY_BYTES
        ends = sizes.cumsum()
        # Where a datagram that began here would end; a single frame always fits.
        full = ends.searchsorted(ends - sizes + self._room, "right")
        following = np.minimum(full, self._numbers[: nodes.size] + MAX_FRAMES).tolist()
        starts: list[int] = []
        for first, stop in self._runs(nodes):
            at = first
            while at < stop:
                starts.append(at)
                at = following[at]
        return np.array(starts)

    @staticmethod
    def _runs(nodes: Indexes) -> list[tuple[int, int]]:
        """First and last + 1 of each run of one node."""
        if nodes[0] == nodes[-1]:  # sorted
            return [(0, nodes.size)]
        edges = [0, *((nodes[1:] != nodes[:-1]).nonzero()[0] + 1).tolist(), nodes.size]
        return list(itertools.pairwise(edges))

    def _write_table(self, rows: Indexes, frames: _Parts) -> None:
        names = self._received.names[frames.packets]
        sizes = frames.lengths.astype(np.uint16).byteswap().astype(np.uint64)
        entries = np.empty((rows.size, _WORDS), np.uint64)
        entries[:, 0:2] = names[:, 1:3]
        entries[:, 2] = (names[:, 0] >> _16 & _PORT) | sizes << _16 | frames.kinds
        self._rows[rows] = entries

    def _write_headers(self, rows: Indexes, frame_counts: Indexes, unix_s: int) -> None:
        count = rows.size
        numbers = np.arange(self._sent_count, self._sent_count + count, dtype=np.uint32)
        self._sent_count = self._sent_count + count & _U32
        time_word = np.uint64(int.from_bytes((unix_s & _U32).to_bytes(4), "little"))
        headers = np.empty((count, _WORDS), np.uint64)
        headers[:, 0] = frame_counts.astype(np.uint64) << _16 | self._lead_word
        headers[:, 1] = self._sender_word
        headers[:, 2] = numbers.byteswap().astype(np.uint64) << _32 | time_word
        self._rows[rows] = headers
        starts = rows * ENTRY_BYTES
        ends = starts + HEADER_BYTES + frame_counts * ENTRY_BYTES
        spans = zip((starts + TAGGED_FROM).tolist(), ends.tolist(), strict=True)
        tags = np.frombuffer(self._tagger.tags(self._octets, spans), np.uint8)
        self._tags[rows] = tags.reshape(-1, TAG_BYTES)
