"""The paced sender: the backend's frames go in, RTP packets come out as they play.

Theory of operation. `due_s` is when the frame before ends, which is when the next one should leave.

    queue not empty, due now      → it leaves, `due_s` moves on by its duration
    a frame meets an empty queue  → it leaves at once, late; `due_s` keeps its rhythm, and so does
                                    the RTP timestamp: sound that is late is still the next sound
    later than `TALKSPURT_GAP_S`  → there was a pause: the RTP timestamp skips as many whole frames
                                    as the wall clock did, and the marker says that a talkspurt
                                    begins (RFC 3551 §4.1)

So a backend that speaks in real time is passed on as it comes and the caller's jitter buffer sees
its jitter, once; skipping for every late frame would turn each into delay for the rest of the call
(an echo under load gained 120 to 360 ms in five seconds that way).

Across a pause the timestamp follows the wall clock, so that the caller's jitter buffer sees a pause
and not a packet that took so long; the sequence number rises by one whatever happens. What was held
up follows at twice its rate until it has caught up; two frames never leave at once.

The rhythm is that of the first frame, which was perhaps a late one. So a frame that meets an empty
queue may leave up to half its duration before its time, and a queue that only stands (`standing`)
is drained by letting the rhythm run one part in twenty faster: no burst, and timestamps go on.
What a stall has held up of a source that speaks in real time (`live_source`) is caught up with at
once: packets are left out (`catch_up`), and those behind them take their places.

A frame may be written in another format than the wire's: `encoded_by` names who makes a packet of
it, when its turn comes and not before, since what is cleared need not be encoded.

DTX: of a run of packets that hold nothing (RFC 7587 §3.1.3) only the first is sent, which tells the
caller's decoder to make comfort noise; time goes on, and the packet that ends the run has the
marker. When reports speak of loss, each packet carries the one before it as well (`Redundancy`).

Played-out position: each frame that is sent is one packet, redundancy or not, so what a receiver
report acknowledges in packets is acknowledged in frames; the frames of a pause between two such
packets count as heard with the first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from transceiver.rtp.catch_up import WORTH_S, CatchUp, is_spare_quiet
from transceiver.rtp.live_source import LiveSource
from transceiver.rtp.opus import (
    CLOCK_HZ,
    DTX_BYTES,
    MAX_DURATION,
    MAX_PACKET_BYTES,
    MIN_DURATION,
    is_quiet,
)
from transceiver.rtp.redundancy import Redundancy
from transceiver.rtp.skipped import SkippedFrames
from transceiver.rtp.standing_queue import StandingWait
from transceiver.takeover.session_state import SendState
from wire import rtp
from wire.rtcp import ReportBlock

MAX_QUEUED_FRAMES = 300  # 6 s of 20 ms frames
TALKSPURT_GAP_S = 0.2
HURRY = 1 / 20  # of a frame: a caller's jitter buffer takes it for the drift of a clock


class Playout(NamedTuple):
    """How far the caller's ear is, in frames of the backend since the call began."""

    sent: int
    acked: int
    cleared: int
    queued: int


class PacedSender:
    """Frames of one outgoing stream. `sequence` and `timestamp` are its random first numbers."""

    def __init__(
        self,
        ssrc: int,
        payload_type: int,
        sequence: int,
        timestamp: int,
        max_queued: int = MAX_QUEUED_FRAMES,
        red_payload_type: int | None = None,
    ) -> None:
        self.ssrc = ssrc
        self.redundancy = Redundancy(payload_type, red_payload_type)
        self.packets = 0
        self.octets = 0
        self.talkspurts = 0  # begun, that is packets with a marker, and the first after a clear
        self.acked = 0
        self.cleared = 0
        self.refused = 0
        self.left_out = 0  # to be on time again
        self._encode: Callable[[bytes], bytes] | None = None
        self._is_quiet: Callable[[bytes], bool] = is_quiet
        self._max_frame_bytes = MAX_PACKET_BYTES
        self._skipped = SkippedFrames()
        self._resting = False  # the last frame was DTX's
        self._max_queued = max_queued
        self._queue: deque[tuple[bytes, int]] = deque()
        self._first_sequence = self._sequence = sequence  # extended, never wraps
        self._timestamp = timestamp  # of the next frame
        self._due_s: float | None = None  # when the frame before ends
        self._not_before_s = -math.inf
        self._lead_s = 0.0  # how much earlier than due the frame at the head may leave
        self._standing = StandingWait()
        self._source = LiveSource()
        self._late = CatchUp()
        self._marker = True
        self._cleared = False  # since the last packet

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def frames(self) -> int:
        """Frames whose turn has come: those sent, and those that DTX or lateness left out."""
        return self.packets + self._skipped.total

    @property
    def used(self) -> int:
        """Frames that no longer wait: those whose turn has come, was taken away or never was."""
        return self.packets + self._skipped.total + self.cleared + self.refused

    def encoded_by(
        self,
        encode: Callable[[bytes], bytes],
        max_frame_bytes: int,
        is_quiet: Callable[[bytes], bool],
    ) -> None:
        """Frames come in another format, of at most that many bytes; `encode` makes packets.

        `is_quiet` tells of a frame whether there is a voice in it.
        """
        self._encode, self._max_frame_bytes = encode, max_frame_bytes
        self._is_quiet = is_quiet

    def push(self, payload: bytes, duration: int, now: float) -> bool:
        """Queue a frame of `duration` 48 kHz ticks; False if it is unfit or the queue is full.

        None is shorter than Opus has any: a takeover relies on it (`transceiver.recovery.reserve`).
        """
        sane = MIN_DURATION <= duration <= MAX_DURATION
        fit = sane and 0 < len(payload) <= self._max_frame_bytes
        if not fit or len(self._queue) >= self._max_queued:
            self.refused += 1
            return False
        self._note_wait(now, duration / CLOCK_HZ)
        self._queue.append((payload, duration))
        return True

    def due_s(self, now: float) -> float | None:
        """When `poll` will have a packet; None while nothing is queued."""
        if not self._queue:
            return None
        return now if self._due_s is None else max(self._due_s - self._lead_s, self._not_before_s)

    def poll(self, now: float) -> bytes | None:
        """The RTP packet that is due, or None; `due_s` then says when the next one is.

        None also for a frame that DTX leaves out, whose turn is then over.
        """
        due_s = self._due_s
        if not self._queue or now < self._not_before_s:
            return None
        if due_s is None:
            due_s = now
        elif now - due_s >= TALKSPURT_GAP_S:
            due_s = self._skip_pause(now, due_s)
        if now < due_s - self._lead_s:
            return None
        payload, duration = self._take()
        if self._late.owed_s:
            payload, duration = self._spare(payload, duration)
        packet = self._packet(payload)
        self._timestamp += duration
        duration_s = duration / CLOCK_HZ
        self._due_s = due_s + duration_s
        if self._standing.surplus_s:
            self._due_s -= self._standing.take(duration_s * HURRY)
        self._not_before_s = now + duration_s / 2
        self._lead_s = 0.0
        return packet

    def clear(self) -> int:
        """Forget what is queued; how many frames that were."""
        count = len(self._queue)
        self._queue.clear()
        self._cleared = True
        self.cleared += count
        self._source.forget()
        self._late.owe(0.0)
        return count

    def acknowledge(self, report: ReportBlock) -> bool:
        """Take the played-out position from a report on our SSRC; whether it moved on."""
        sent = self._sequence - self._first_sequence
        if not sent or report.ssrc != self.ssrc:
            return False
        self.redundancy.note_report(report.fraction_lost)
        # The report's cycles count from where its sender began; ours are known, so 16 bits do.
        behind = (self._sequence - 1 - report.highest_sequence) & 0xFFFF
        highest = max(0, sent - behind)
        frames = highest + self._skipped.up_to(highest)
        acked = min(self.frames, max(0, frames - max(0, report.packets_lost)))
        moved = acked > self.acked
        self.acked = max(self.acked, acked)
        return moved

    def playout(self) -> Playout:
        """The four counts, for the backend."""
        return Playout(self.frames, self.acked, self.cleared, len(self._queue))

    def export(self, now: float) -> SendState:
        """The stream as a value, with what is queued."""
        return SendState(
            ssrc=self.ssrc,
            sequence=self._sequence,
            first_sequence=self._first_sequence,
            timestamp=self._timestamp,
            marker=self._marker,
            due_in_s=None if self._due_s is None else self._due_s - now,
            packets=self.packets,
            octets=self.octets,
            acked=self.acked,
            cleared=self.cleared,
            refused=self.refused,
            skipped=self._skipped.total,
            queue=tuple(self._queue),
        )

    def resume(self, state: SendState, now: float, reserve: int = 0) -> None:
        """Go on with a stream of another process, `now` being the moment of its export.

        The next sequence number is `reserve` further on.
        """
        self.ssrc = state.ssrc
        self._sequence = state.sequence + reserve
        self._first_sequence = state.first_sequence + reserve
        self._timestamp, self._marker = state.timestamp, state.marker
        self._due_s = None if state.due_in_s is None else now + state.due_in_s
        self.packets, self.octets, self.acked = state.packets, state.octets, state.acked
        self.cleared, self.refused = state.cleared, state.refused
        self._skipped.resume(state.skipped)
        self._queue = deque(state.queue, maxlen=None)

    def carry_on(self, sent: int, acked: int, cleared: int) -> None:
        """Another process was further: forget the frames that it has sent or cleared since.

        The three are counted as `playout` counts them.
        """
        past = max(0, sent + cleared - self.used)
        for _ in range(min(past, len(self._queue))):
            self._queue.popleft()
        newly_cleared = min(past, max(0, cleared - self.cleared))
        self.cleared += newly_cleared
        if past > newly_cleared:
            self._skipped.add(self.packets, past - newly_cleared)
        self.acked = min(self.frames, max(self.acked, acked))

    def rtp_time(self, now: float) -> int:
        """The RTP timestamp of this moment, for a sender report (RFC 3550 §6.4.1)."""
        elapsed_s = 0.0 if self._due_s is None else now - self._due_s
        return (self._timestamp + int(elapsed_s * CLOCK_HZ)) & 0xFFFF_FFFF

    def _note_wait(self, now: float, duration_s: float) -> None:
        wait_s = len(self._queue) * duration_s
        if self._due_s is not None:
            wait_s += self._due_s - now
            if not self._queue:
                self._lead_s = duration_s / 2
                if wait_s <= -TALKSPURT_GAP_S:
                    self._source.pause(-wait_s)
        if self._source.note(now, duration_s, wait_s):
            self._look_back()

    # Lateness of a live source.

    def _look_back(self) -> None:
        """A window of frames has come."""
        source = self._source
        least_wait_s = source.least_wait_s
        if self._due_s is not None:
            self._standing.note(least_wait_s)
        if least_wait_s < 0:
            source.empty()
        if source.turn():
            self._catch_up(least_wait_s - source.early_s, certain=source.certain)

    def _catch_up(self, late_s: float, *, certain: bool) -> None:
        self._late.owe(late_s, words=certain)
        excess_s = self._late.owed_s - WORTH_S
        if certain and excess_s > 0:
            excess_s = self._cut_oldest(self._cut_quiet(excess_s))
            self._late.owe(WORTH_S + excess_s)

    def _cut_quiet(self, excess_s: float) -> float:
        """Leave out quiet frames of the queue; how much is left of the excess."""
        kept: deque[tuple[bytes, int]] = deque()
        quiet = 0
        for payload, duration in self._queue:
            quiet = quiet + 1 if excess_s > 0 and self._is_quiet(payload) else 0
            if is_spare_quiet(quiet):
                excess_s -= duration / CLOCK_HZ
                self._leave_out()
            else:
                kept.append((payload, duration))
        self._queue = kept
        return excess_s

    def _cut_oldest(self, excess_s: float) -> float:
        payload = b""
        while excess_s > 0 and len(self._queue) > 1:
            payload, duration = self._queue.popleft()
            excess_s -= duration / CLOCK_HZ
            self._leave_out()
        if payload and self._encode is not None:
            self._encode(payload)  # the seam is in this packet, which nobody hears
        return excess_s

    def _spare(self, payload: bytes, duration: int) -> tuple[bytes, int]:
        """The next packet that is to leave, after those that are left out."""
        while self._queue and self._late.leaves_out(payload, duration / CLOCK_HZ):
            self._leave_out()
            payload, duration = self._take()
        return payload, duration

    def _leave_out(self) -> None:
        self._skipped.add(self.packets)
        self.left_out += 1

    def _take(self) -> tuple[bytes, int]:
        payload, duration = self._queue.popleft()
        return (payload if self._encode is None else self._encode(payload)), duration

    def _skip_pause(self, now: float, due_s: float) -> float:
        """When the next frame should leave: as many whole frames later as the pause was long."""
        late_s = now - due_s
        duration = self._queue[0][1]
        skipped = int(late_s * CLOCK_HZ + 0.5) // duration * duration
        self._timestamp += skipped
        self._marker = True
        return due_s + skipped / CLOCK_HZ

    def _packet(self, payload: bytes) -> bytes | None:
        resting, self._resting = self._resting, len(payload) <= DTX_BYTES
        if resting and self._resting:
            self._skip()
            return None
        payload_type, body = self.redundancy.wrap(payload, self._timestamp)
        packet = rtp.write(
            payload_type,
            self._marker,
            self._sequence & 0xFFFF,
            self._timestamp & 0xFFFF_FFFF,
            self.ssrc,
            body,
        )
        self.talkspurts += self._marker or self._cleared
        self._marker = self._cleared = False
        self._sequence += 1
        self.packets += 1
        self.octets += len(body)
        return packet

    def _skip(self) -> None:
        self._skipped.add(self.packets)
        self.redundancy.forget()
        self._marker = True
