"""The voice health of watched flows, measured from RTP headers alone.

SRTP leaves the RTP header readable (RFC 3711 §3.1), so a relay can tell a caller's loss and
jitter without a key. A worker does so only for watched addresses: one array comparison a batch
while anything is watched, nothing at all otherwise. Arrival times are those of the batch, in
whole milliseconds, and the RTP clock is taken as Opus's 48 kHz (RFC 7587 §4.1); so jitter is good
to about 1 ms, which is what a decision about a voice call needs.

    Watch       one flow's running state, in the worker
    VoiceWatch  all of them; bounded, each ends by itself
    VoiceTable  what they found, in shared memory; the supervisor reads it
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from datagram.mmsg import U64, ReceiveBatch, name_row

MAX_WATCHED = 64  # flows of one worker at a time
TICKS_PER_MS = 48
_RTP = struct.Struct("!BBHII")
_SEQUENCE_MASK = 0xFFFF
_MAX_DROPOUT = 3000  # sequence numbers; a larger step is a new start (RFC 3550 A.1)
_SOURCE_SILENT_MS = 2000  # after this another SSRC takes its place
_KEY_MASK = np.uint64(0xFFFF0000)  # the port bits of a name's first word


@dataclass(frozen=True)
class VoiceHealth:
    """What is known of a watched flow; times are those of the worker's monotonic clock."""

    watch: int  # number of the watch, 0 for a free record
    since_ms: int
    last_ms: int  # of the last packet of any kind; 0 before the first
    packets: int  # RTP
    lost: int  # by RTP sequence (RFC 3550 A.3)
    jitter_us: int  # interarrival jitter (RFC 3550 A.8)
    longest_gap_ms: int  # between two packets of any kind


class VoiceTable:
    """`MAX_WATCHED` records of VoiceHealth over `WORDS` 64-bit words."""

    FIELDS = 8
    WORDS = MAX_WATCHED * FIELDS

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def write(self, record: int, health: VoiceHealth) -> None:
        """Put one record; a reader may see it half new, which a health figure bears."""
        at = record * self.FIELDS
        for offset, value in enumerate(_values(health)):
            self._words[at + offset] = value

    def read(self, record: int) -> VoiceHealth:
        """One record."""
        at = record * self.FIELDS
        return VoiceHealth(*self._words[at : at + len(_values(_FREE))].tolist())


def _values(health: VoiceHealth) -> tuple[int, ...]:
    return (
        health.watch,
        health.since_ms,
        health.last_ms,
        health.packets,
        health.lost,
        health.jitter_us,
        health.longest_gap_ms,
    )


_FREE = VoiceHealth(0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class WatchOrder:
    """Watch the flow of an 18-byte address in `record` until then (ms); `watch` is never 0."""

    record: int
    watch: int
    address: bytes = field(repr=False)
    until_ms: int


@dataclass
class Watch:
    """One flow's state: the sequence of its one current source, and the sums so far."""

    order: WatchOrder
    since_ms: int
    last_ms: int = 0
    longest_gap_ms: int = 0
    packets: int = 0
    jitter: float = 0.0  # in ticks
    _ssrc: int | None = field(default=None, repr=False)
    _source_ms: int = 0
    _base: int = 0  # extended sequence numbers of the current run, RFC 3550 A.1
    _highest: int = 0
    _received: int = 0
    _lost_before: int = 0  # in runs that are over
    _transit: int | None = None

    def note(self, packet: memoryview, now_ms: int) -> None:
        """One packet of the flow, of whatever kind."""
        if self.last_ms:
            self.longest_gap_ms = max(self.longest_gap_ms, now_ms - self.last_ms)
        self.last_ms = now_ms
        if len(packet) < _RTP.size:
            return
        first, second, sequence, rtp_time, ssrc = _RTP.unpack_from(packet)
        if 128 <= first <= 191 and not 192 <= second <= 223:  # RTP, not RTCP (RFC 5761 §4)
            self._note_rtp(sequence, rtp_time, ssrc, now_ms)

    def health(self) -> VoiceHealth:
        """The figures as they stand."""
        return VoiceHealth(
            self.order.watch,
            self.since_ms,
            self.last_ms,
            self.packets,
            self._lost_before + self._lost(),
            int(self.jitter * 1000 / TICKS_PER_MS),
            self.longest_gap_ms,
        )

    def _note_rtp(self, sequence: int, rtp_time: int, ssrc: int, now_ms: int) -> None:
        if ssrc != self._ssrc:
            if self._ssrc is not None and now_ms - self._source_ms < _SOURCE_SILENT_MS:
                return  # a second source beside the first, for instance retransmissions
            self._ssrc = ssrc
            self._start(sequence)
        self._source_ms = now_ms
        self.packets += 1
        ahead = (sequence - self._highest) & _SEQUENCE_MASK
        if _MAX_DROPOUT <= ahead <= _SEQUENCE_MASK - _MAX_DROPOUT:
            self._start(sequence)
        elif ahead < _MAX_DROPOUT:
            self._highest += ahead
        self._received += 1
        self._note_jitter(rtp_time, now_ms)

    def _start(self, sequence: int) -> None:
        self._lost_before += self._lost()
        # Room below, so that packets reordered across the start stay positive.
        self._base = self._highest = sequence + _SEQUENCE_MASK + 1
        self._received, self._transit = 0, None

    def _lost(self) -> int:
        return max(0, self._highest - self._base + 1 - self._received) if self._received else 0

    def _note_jitter(self, rtp_time: int, now_ms: int) -> None:
        transit = (now_ms * TICKS_PER_MS - rtp_time) & 0xFFFFFFFF
        if self._transit is not None:
            step = (transit - self._transit) & 0xFFFFFFFF
            difference = min(step, 0x100000000 - step)
            self.jitter += (difference - self.jitter) / 16
        self._transit = transit


class VoiceWatch:
    """The watched flows of one worker."""

    def __init__(self, table: VoiceTable) -> None:
        self._table = table
        self._watches: dict[tuple[int, int, int], Watch] = {}
        self._lows: U64 = np.zeros(0, np.uint64)

    def __len__(self) -> int:
        return len(self._watches)

    def follow(self, orders: Iterable[WatchOrder], now_ms: int) -> None:
        """Watch exactly these, at most MAX_WATCHED; a watch that goes on keeps its figures."""
        before = {watch.order.watch: watch for watch in self._watches.values()}
        self._watches = {}
        for order in list(orders)[:MAX_WATCHED]:
            watch = before.pop(order.watch, None) or Watch(order, now_ms)
            watch.order = order
            self._watches[_key(name_row(order.address))] = watch
            self._table.write(order.record, watch.health())
        taken = {watch.order.record for watch in self._watches.values()}
        for watch in before.values():
            if watch.order.record not in taken:
                self._table.write(watch.order.record, _FREE)
        self._lows = np.array([low for _, _, low in self._watches], np.uint64)

    def expire(self, now_ms: int) -> None:
        """End the watches whose time is over."""
        if any(watch.order.until_ms <= now_ms for watch in self._watches.values()):
            orders = [watch.order for watch in self._watches.values()]
            self.follow([order for order in orders if order.until_ms > now_ms], now_ms)

    def note(self, received: ReceiveBatch, count: int, now_ms: int) -> None:
        """Look at a batch; call it only while `len(self)`."""
        names = received.names[:count]
        for index in np.isin(names[:, 2], self._lows).nonzero()[0].tolist():
            watch = self._watches.get(_key(names[index]))
            if watch is not None:
                length = int(received.lengths[index])
                watch.note(received.slots[index, :length].data, now_ms)
                self._table.write(watch.order.record, watch.health())


def _key(row: U64) -> tuple[int, int, int]:
    return int(row[0] & _KEY_MASK), int(row[1]), int(row[2])
