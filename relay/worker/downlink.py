"""Transceiver → client: a batch of trunk datagrams in, a batch of packets out.

No I/O and no clock. Each datagram's tag, sender and count are checked one by one; its frames are
then found by array steps over all datagrams together, thanks to the frame table. The frame names
the client, so this direction needs no flow table, and any worker can do it.

What is said to the worker itself is done where it stands in the batch: behind a claim that fences
its sender no datagram is admitted.
"""

from __future__ import annotations

import struct
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from datagram.mmsg import FAMILY, NAME_WORDS, ReceiveBatch, SendBatch
from relay.shared.counters import Counter, Counts, drop
from relay.shared.nodes import NodeTable
from relay.worker.control_frames import ControlFrames
from relay.worker.faults import Faults
from wire.errors import WireError
from wire.replay import ReplayWindow
from wire.trunk import (
    ENTRY_BYTES,
    FIRST_TYPE_AT,
    HEADER_BYTES,
    LAST_DATA_TYPE,
    MAX_FRAMES,
    TAG_BYTES,
    TAG_OFFSET,
    TAGGED_FROM,
    VERSION,
    FrameType,
    Tagger,
    origin,
)

Indexes = npt.NDArray[np.int64]

_WORDS = ENTRY_BYTES // 8
_LOW_16 = np.uint64(0xFFFF)
_TYPE_SHIFT = 32  # type and what follows it, which is 0
_DATAGRAM = int(FrameType.DATAGRAM)
_ONE = np.uint8(1)
_FAMILY = int(FAMILY)
_FAMILY_AND_PORT = 0xFFFFFFFF
_ROW = struct.Struct("<QQQ")
FEW_DATAGRAMS = 12  # from here on their tags are checked by arrays
FEW = 36  # frames; from about here on a batch is cheaper by arrays


class Downlink:
    """Unpacks one worker's received trunk batches. Counts everything it drops."""

    def __init__(
        self,
        received: ReceiveBatch,
        nodes: NodeTable,
        tagger: Tagger,
        replay: ReplayWindow,
        counts: Counts,
        faults: Faults | None = None,
        control: ControlFrames | None = None,
    ) -> None:
        self._control = control
        self._faults = faults or Faults(counts)
        self.outgoing = SendBatch(
            received.capacity * MAX_FRAMES, parts=received.capacity * MAX_FRAMES
        )
        self._received = received
        self._nodes = nodes
        self._tagger = tagger
        self._replay = replay
        self._counts = counts
        self._octets = received.slots.data.cast("B")
        self._name_words = received.names.data.cast("B").cast("Q")
        self.checks_source = False  # the tag proves the sender; this is for where it can be asked
        self._rows = received.slots.reshape(-1).view(np.uint64).reshape(-1, _WORDS)
        self._rows_per_slot = received.slot_bytes // ENTRY_BYTES

    def rotate(self, tagger: Tagger) -> None:
        """Other keys from the next batch on."""
        self._tagger = tagger

    def unpack(self, count: int, now_ms: int, unix_s: int) -> int:
        """Unpack the first `count` trunk datagrams; returns how many packets to send."""
        lengths = self._received.lengths[:count]
        self._counts[Counter.DOWN_BATCHES] += 1
        self._counts[Counter.DOWN_DATAGRAMS] += count
        self._counts[Counter.DOWN_BYTES] += int(lengths.sum())
        sound = self._admitted(self._tagged(lengths), now_ms, unix_s)
        if not sound:
            return 0
        if sum(self._octets[slot * self._received.slot_bytes + 2] for slot in sound) <= FEW:
            return self._lay_out_few(sound)
        try:
            return self._lay_out(np.array(sound))
        except Exception:  # one of them: `_lay_out_few` finds which, and counts it
            return self._lay_out_few(sound)

    def _tagged(self, lengths: npt.NDArray[np.uint32]) -> list[int]:
        """The slots whose form and tag hold."""
        if lengths.size >= FEW_DATAGRAMS:
            with suppress(Exception):  # one of them: then one by one
                return self._tagged_by_arrays(lengths)
        return [slot for slot, size in enumerate(lengths.tolist()) if self._is_whole(slot, size)]

    def _tagged_by_arrays(self, lengths: npt.NDArray[np.uint32]) -> list[int]:
        heads = self._received.slots[: lengths.size]
        table_ends = HEADER_BYTES + ENTRY_BYTES * heads[:, 2].astype(np.int64)
        usual = (heads[:, 1] == self._tagger.key_id) & (lengths >= table_ends)
        # No frame at all wraps to 255.
        usual &= (heads[:, 0] == VERSION) & (heads[:, 2] - _ONE < MAX_FRAMES) & (heads[:, 3] == 0)
        # Of another key, or not whole: that is rare, and needs to be told apart.
        held = [
            slot for slot in (~usual).nonzero()[0].tolist() if self._is_whole(slot, lengths[slot])
        ]
        slots = usual.nonzero()[0]
        starts = slots * self._received.slot_bytes
        spans = zip(
            (starts + TAGGED_FROM).tolist(), (starts + table_ends[slots]).tolist(), strict=True
        )
        tags = np.frombuffer(self._tagger.tags(self._octets, spans), np.uint8)
        # Whole tags are compared, whatever differs: nothing is learned from how long it takes.
        good = (tags.reshape(-1, TAG_BYTES) == heads[slots, TAG_OFFSET:TAGGED_FROM]).all(axis=1)
        self._counts[Counter.DROP_TRUNK_TAG] += np.count_nonzero(~good)
        return sorted(held + slots[good].tolist()) if held else slots[good].tolist()

    def _is_whole(self, slot: int, length: int) -> bool:
        """Whether the form and the tag of one datagram hold; counted if not."""
        start = slot * self._received.slot_bytes
        datagram = self._octets[start : start + length]
        try:
            self._tagger.check(datagram)
        except WireError as error:
            self._counts[drop(error.reason)] += 1
            return False
        except Exception as error:
            self._faults.note(Counter.DROP_DOWN_FAULT, error)
            return False
        return True

    def _admitted(self, slots: list[int], now_ms: int, unix_s: int) -> list[int]:
        """Those of `slots` with packets, from a node we know, that were not seen before."""
        admitted, known = [], None
        for slot in slots:
            start = slot * self._received.slot_bytes
            sender, time_s, number = origin(self._octets, start)
            try:
                if sender != known and not self._nodes.knows_sender(sender):
                    raise WireError(self._stranger(sender))
                if self.checks_source and not self._is_from(slot, sender >> 16):
                    raise WireError("trunk_source")
                self._replay.accept(sender, time_s, number, unix_s)
                if sender != known:
                    known = sender
                    self._nodes.hear(sender >> 16, now_ms)
                if self._octets[start + FIRST_TYPE_AT] > LAST_DATA_TYPE and self._control:
                    known = None  # it may fence any sender
                    self._listen(self._control, slot, now_ms)
                    continue
            except WireError as error:
                self._counts[drop(error.reason)] += 1
            except Exception as error:
                self._faults.note(Counter.DROP_DOWN_FAULT, error)
            else:
                admitted.append(slot)
        return admitted

    def _stranger(self, sender: int) -> str:
        """Why a sender is not believed."""
        return "trunk_fenced" if self._nodes.is_fenced(sender) else "trunk_sender"

    def _listen(self, control: ControlFrames, slot: int, now_ms: int) -> None:
        start = slot * self._received.slot_bytes
        datagram = bytes(self._octets[start : start + int(self._received.lengths[slot])])
        control.take(datagram, self._received.names[slot].copy(), now_ms)

    def _is_from(self, slot: int, node: int) -> bool:
        """Whether a datagram comes from the trunk address of that node."""
        # Family, port and address; what follows in a socket name (scope) is no part of it.
        start = slot * NAME_WORDS
        word, high, low = self._name_words[start : start + 3]
        known = self._nodes.name(node)
        return bool(
            low == known[2] and high == known[1] and (word ^ known[0]) & _FAMILY_AND_PORT == 0
        )

    def _lay_out_few(self, slots: list[int]) -> int:
        """`_lay_out` without array operations, which cost too much for a few frames."""
        count = 0
        for slot in slots:
            try:
                frames = self._frames(slot)
            except Exception as error:
                self._faults.note(Counter.DROP_DOWN_FAULT, error)
                continue
            for high, low, port, offset, length in frames:
                words, out = NAME_WORDS * count, self.outgoing
                out.name_words[words] = _FAMILY | port << 16
                out.name_words[words + 1], out.name_words[words + 2] = high, low
                out.part_words[2 * count] = self._received.address + offset
                out.part_words[2 * count + 1] = length
                count += 1
        self._counts[Counter.DOWN_PACKETS] += count
        return count

    def _frames(self, slot: int) -> list[tuple[int, int, int, int, int]]:
        """Address words, port, offset in the batch's memory and length of each frame."""
        start = slot * self._received.slot_bytes
        table_end = start + HEADER_BYTES + ENTRY_BYTES * self._octets[start + 2]
        offset, known, frames = table_end, True, []
        for high, low, word in _ROW.iter_unpack(self._octets[start + HEADER_BYTES : table_end]):
            length = (word >> 16 & 0xFF) << 8 | word >> 24 & 0xFF
            known = known and word >> _TYPE_SHIFT == _DATAGRAM
            frames.append((high, low, word & 0xFFFF, offset, length))
            offset += length
        if offset - start != self._received.lengths[slot]:
            self._counts[Counter.DROP_TRUNK_LENGTH] += 1
            return []
        if not known:
            self._counts[Counter.DROP_TRUNK_FRAME_TYPE] += 1
            return []
        return frames

    def _lay_out(self, slots: Indexes) -> int:
        frame_counts = self._received.slots[slots, 2].astype(np.int64)
        entries, of_datagram = self._entries(slots, frame_counts)
        sizes = (entries[:, 2] >> np.uint64(16) & _LOW_16).astype(np.uint16)
        lengths: Indexes = sizes.byteswap().astype(np.int64)
        # Where each payload starts in its datagram: after the table and the payloads before it.
        ends = lengths.cumsum()
        firsts = frame_counts.cumsum() - frame_counts
        before = ends[firsts] - lengths[firsts]
        table_ends = HEADER_BYTES + ENTRY_BYTES * frame_counts
        offsets = ends - lengths + (table_ends - before)[of_datagram]

        whole = self._whole(slots, entries, lengths, offsets, of_datagram)
        if not whole.all():
            keep = whole[of_datagram]
            entries, lengths, offsets = entries[keep], lengths[keep], offsets[keep]
            of_datagram = of_datagram[keep]
        return self._write(slots[of_datagram], entries, lengths, offsets)

    def _entries(
        self, slots: Indexes, frame_counts: Indexes
    ) -> tuple[npt.NDArray[np.uint64], Indexes]:
        """The table rows of all datagrams, and the position of the datagram each belongs to."""
        of_datagram = np.repeat(np.arange(slots.size), frame_counts)
        firsts = frame_counts.cumsum() - frame_counts
        in_datagram = np.arange(of_datagram.size) - firsts[of_datagram]
        rows = slots[of_datagram] * self._rows_per_slot + 1 + in_datagram
        return self._rows[rows], of_datagram

    def _whole(
        self,
        slots: Indexes,
        entries: npt.NDArray[np.uint64],
        lengths: Indexes,
        offsets: Indexes,
        of_datagram: Indexes,
    ) -> npt.NDArray[np.bool_]:
        """Which datagrams are as long as their table says and hold only frames we know."""
        lasts = np.flatnonzero(np.diff(of_datagram, append=-1))
        fits: npt.NDArray[np.bool_] = (
            offsets[lasts] + lengths[lasts] == self._received.lengths[slots]
        )
        strange = entries[:, 2] >> np.uint64(_TYPE_SHIFT) != _DATAGRAM
        known = np.ones(slots.size, np.bool_)
        known[of_datagram[strange]] = False
        self._counts[Counter.DROP_TRUNK_LENGTH] += np.count_nonzero(~fits)
        self._counts[Counter.DROP_TRUNK_FRAME_TYPE] += np.count_nonzero(fits & ~known)
        return fits & known

    def _write(
        self,
        slots: Indexes,
        entries: npt.NDArray[np.uint64],
        lengths: Indexes,
        offsets: Indexes,
    ) -> int:
        count, out, received = slots.size, self.outgoing, self._received
        out.names[:count, 0] = FAMILY | (entries[:, 2] & _LOW_16) << np.uint64(16)
        out.names[:count, 1:3] = entries[:, 0:2]
        out.part_bases[:count] = received.address + slots * received.slot_bytes + offsets
        out.part_lengths[:count] = lengths
        self._counts[Counter.DOWN_PACKETS] += count
        return count
