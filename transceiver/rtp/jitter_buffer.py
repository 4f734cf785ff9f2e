"""The jitter buffer: packets go in as they come, and sound without holes comes out.

Theory of operation. The listener is a program and not a loudspeaker: nothing runs dry when a
frame comes late, so a packet that is next in order leaves at once, and a clean path costs nothing.
What takes judgement is a packet that is not there. It has a time at which it should have come (its
timestamp, by the quickest transit seen) and is waited for until `DelayTarget` after that:

    next = 10     push 11 → held     push 10 in time       → 10, 11
                  push 11 → held     due(10) has passed    → 10 made good, 11
                  a burst after a stall                    → all of it at once: nothing to drain

So one lost packet delays what follows it once, by the jitter of the path and no more, and never
stays as delay. A hole is filled, best first, by a copy that came as redundancy (`recover`), by the
in-band FEC of the packet behind it, by the decoder's concealment; after MAX_CONCEALED frames
of that there is only noise, and beyond what the clock allows a gap in the timestamps.

No packets is not a loss. After a DTX packet the pause is filled with comfort noise on the clock,
20 ms by 20 ms, so that a listener who waits for a silence hears one. A source that stops without a
word may only be held up: its pause begins STALL_S later. What was held up for less is heard whole;
of what comes after noise was made in its place, only the last HEARD_WORTH_S are not too late. They
follow the noise, the timestamps pushed back, until the next pause takes that up, or packets that
are left out (`catch_up`). So a listener who plays what it hears in real time is not left behind.

Numbers are extended internally and never wrap: sequence numbers from 16 bits, timestamps from 32.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from transceiver.rtp import opus
from transceiver.rtp.catch_up import CatchUp
from transceiver.rtp.delay_target import DelayTarget
from transceiver.rtp.opus import CLOCK_HZ, DTX_BYTES
from transceiver.rtp.receive import MAX_GIVEN_UP, MAX_MISORDER, Frame, Origin

FRAME = 960  # ticks of the usual 20 ms
FRAME_S = FRAME / CLOCK_HZ
MAX_AHEAD = 50  # packets: one second; a hole that wide is not waited for
MAX_CONCEALED = 5  # frames in a row: after 100 ms libopus has faded to silence anyway
MAX_FILLED = 25  # frames in the place of one hole
# libopus sends at least every 400 ms in DTX, and relays pass over what is older than a second: who
# is silent for so long has stopped, or what comes of it yet is lost.
STALL_S = 1.0
HEARD_WORTH_S = 0.06
PAUSE_S = 3.0  # how long the noise goes on when nothing comes: every end of turn is over by then


class _Held(NamedTuple):
    payload: bytes
    timestamp: int  # extended
    duration: int
    arrived_s: float


class JitterBuffer:
    """Puts the packets of one SSRC in order and fills what is missing; see above."""

    def __init__(self) -> None:
        self.duplicates = 0
        self.late = 0
        self.lost = 0
        self.filled = 0  # frames that no packet stands behind
        self.left_out = 0  # packets left out to be on time again
        self.waited_s = 0.0  # what packets have waited here, all together
        self._delay = DelayTarget()
        self._held: dict[int, _Held] = {}
        self._given_up: OrderedDict[int, None] = OrderedDict()
        self._restart_at: int | None = None
        self._next: int | None = None  # extended sequence number that is wanted
        self._end = 0  # extended timestamp at which the last frame ended
        self._pushed_back = 0  # ticks of noise that nothing has taken up yet
        self._late = CatchUp()
        self._duration = FRAME  # of the last packet
        self._resting = False  # the last packet was DTX's
        self._noise = 0  # frames of noise since the last packet
        self._spoke_s = 0.0  # when the last packet left
        self._arrived_s = 0.0  # when the last one came

    def __len__(self) -> int:
        return len(self._held)

    @property
    def pressing(self) -> bool:
        """Whether a packet may have brought the deadline forward."""
        return bool(self._held) or self._resting

    def push(self, sequence: int, timestamp: int, payload: bytes, now: float) -> list[Frame]:
        """The frames that a packet lets go, in order; mostly itself."""
        self._arrived_s = now
        duration = opus.duration(payload) or self._duration
        if self._next is None:
            self._begin(sequence, timestamp, now)
        extended = self._extend(sequence)
        ahead = extended - (self._next or 0)
        held = _Held(payload, self._extend_time(timestamp), duration, now)
        if ahead < 0:
            return self._behind(sequence, timestamp, held, -ahead, now)
        if extended in self._held:
            self.duplicates += 1
            return []
        self._delay.note(now - held.timestamp / CLOCK_HZ, now)
        if not ahead and not self._held:
            return self._leave(held, 0, now)
        self._held[extended] = held
        return self.flush() if ahead > MAX_AHEAD else self._release(now)

    def recover(self, sequence: int, timestamp: int, payload: bytes, now: float) -> list[Frame]:
        """As `push`, for a copy that came with a later packet: taken only if it fills a hole.

        It says nothing of the path, so the delay target does not see it.
        """
        if self._next is None:
            return []
        extended = self._extend(sequence)
        if not 0 <= extended - self._next <= MAX_AHEAD or extended in self._held:
            return []
        duration = opus.duration(payload) or self._duration
        self._held[extended] = _Held(payload, self._extend_time(timestamp), duration, now)
        return self._release(now)

    def deadline_s(self) -> float | None:
        """When `expire` will have something; None while nothing is waited for."""
        if self._next is None:
            return None
        if self._held:
            return self._due_s()
        return self._noise_due_s() if self._noise < PAUSE_S / FRAME_S else None

    def expire(self, now: float) -> list[Frame]:
        """Give up the holes whose time is over; go on with the noise of a pause."""
        frames: list[Frame] = []
        while (deadline_s := self.deadline_s()) is not None and now >= deadline_s:
            frames += self._skip_hole(now) if self._held else [self._make_noise()]
        return frames

    def flush(self) -> list[Frame]:
        """Let go everything, giving up every hole: the stream ends or has jumped."""
        frames: list[Frame] = []
        while self._held:
            # Frames may have left since the last packet came: time does not go back for a flush.
            frames += self._skip_hole(max(self._arrived_s, self._spoke_s))
        return frames

    # Numbers.

    def _begin(self, sequence: int, timestamp: int, now: float) -> None:
        # One turn up, so that what comes before the first packet does not become negative.
        self._next = sequence + 0x1_0000
        self._end = timestamp + 0x1_0000_0000
        self._spoke_s = now
        self._delay = DelayTarget()

    def _extend(self, sequence: int) -> int:
        wanted = self._next or 0
        return wanted + ((sequence - wanted + 0x8000) & 0xFFFF) - 0x8000

    def _extend_time(self, timestamp: int) -> int:
        end = self._end
        return end + ((timestamp - end + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000

    # Deadlines.

    def _due_s(self) -> float:
        # Of the last packet missing before the nearest: the ones before it are due by then too.
        missing = self._held[min(self._held)].timestamp - self._duration
        return self._expected_s(missing) + self._delay.target_s()

    def _noise_due_s(self) -> float:
        patience_s = FRAME_S if self._resting else STALL_S
        # Not before the packet itself: its timestamp may say anything.
        next_s = max(self._expected_s(self._end) + self._delay.target_s(), self._spoke_s)
        return next_s + patience_s + self._noise * FRAME_S

    def _expected_s(self, timestamp: int) -> float:
        return self._delay.quickest_s + timestamp / CLOCK_HZ

    # Packets out.

    def _release(self, now: float) -> list[Frame]:
        frames: list[Frame] = []
        while self._held:
            held = self._held.pop(self._next or 0, None)
            if held is not None:
                self.waited_s += now - held.arrived_s
                frames += self._leave(held, 0, now)
            elif now >= self._due_s():
                frames += self._skip_hole(now)
            else:
                break
        return frames

    def _skip_hole(self, now: float) -> list[Frame]:
        wanted = self._next or 0
        nearest = min(self._held)
        for sequence in range(max(wanted, nearest - MAX_GIVEN_UP), nearest):
            self._given_up[sequence & 0xFFFF] = None
        while len(self._given_up) > MAX_GIVEN_UP:
            self._given_up.popitem(last=False)
        self._next = nearest
        self.lost += nearest - wanted
        held = self._held.pop(nearest)
        self.waited_s += now - held.arrived_s
        return self._leave(held, nearest - wanted, now)

    def _leave(self, held: _Held, lost: int, now: float) -> list[Frame]:
        """A packet goes, and before it what fills the gap to the frame before."""
        frames = self._fill(held, lost, now) if held.timestamp != self._end else []
        if self._pushed_back and not lost and self._is_spare(held):
            self._pushed_back -= held.duration
            self.left_out += 1
        else:
            label = self._label(held.timestamp)
            frames.append(Frame(held.payload, label, lost, Origin.PACKET, held.duration))
        self._next = (self._next or 0) + 1
        self._end = held.timestamp + held.duration
        self._duration = held.duration
        self._resting = len(held.payload) <= DTX_BYTES
        self._noise = 0
        self._spoke_s = now
        return frames

    def _is_spare(self, held: _Held) -> bool:
        """Whether time is to be taken up with this packet; DTX's says what to make noise of."""
        pushed_back_s = self._pushed_back / CLOCK_HZ
        duration_s = held.duration / CLOCK_HZ
        if len(held.payload) <= DTX_BYTES or duration_s > pushed_back_s:
            return False
        self._late.owe(pushed_back_s, least_s=0.0)
        return pushed_back_s > HEARD_WORTH_S or self._late.leaves_out(held.payload, duration_s)

    def _label(self, timestamp: int) -> int:
        return (timestamp + self._pushed_back) & 0xFFFF_FFFF

    # What fills a gap.

    def _fill(self, held: _Held, lost: int, now: float) -> list[Frame]:
        gap = held.timestamp - self._end
        if gap < 0:  # a source that overlaps itself: its time goes on all the same
            self._pushed_back -= gap
            return []
        taken_up = min(gap, self._pushed_back)
        start = self._end + self._pushed_back  # what is before was filled with noise already
        self._pushed_back -= taken_up
        whole = (gap - taken_up) // self._duration
        count = min(whole, MAX_FILLED, self._allowed(now))
        if not count:
            return []
        self.filled += count
        frames = [self._filler(start, i, o) for i, o in enumerate(_origins(count, lost))]
        if lost:  # FEC speaks of the frame right before its packet, wherever the others end
            label = self._label(held.timestamp - self._duration)
            frames[-1] = Frame(held.payload, label, 0, Origin.FEC, self._duration)
        return frames

    def _allowed(self, now: float) -> int:
        # Filling costs a decode each, so a source that skips numbers may not ask for more of it
        # than time has passed.
        return int((now - self._spoke_s) * CLOCK_HZ / self._duration) + 2

    def _filler(self, start: int, index: int, origin: Origin) -> Frame:
        timestamp = (start + index * self._duration) & 0xFFFF_FFFF
        return Frame(b"", timestamp, 0, origin, self._duration)

    def _make_noise(self) -> Frame:
        frame = Frame(b"", self._label(self._end), 0, Origin.COMFORT, FRAME)
        self._pushed_back += FRAME
        self._noise += 1
        self.filled += 1
        return frame

    # Packets that come too late, or from a source that began anew.

    def _behind(
        self, sequence: int, timestamp: int, held: _Held, behind: int, now: float
    ) -> list[Frame]:
        if sequence in self._given_up:
            del self._given_up[sequence]
            self._delay.note(now - held.timestamp / CLOCK_HZ, now)
            self.late += 1
            return []
        if behind > MAX_MISORDER and sequence == self._restart_at:
            frames = self.flush()
            self._begin(sequence, timestamp, now)
            self._restart_at = None
            return frames + self.push(sequence, timestamp, held.payload, now)
        self._restart_at = (sequence + 1) & 0xFFFF if behind > MAX_MISORDER else None
        self.duplicates += 1
        return []


def _origins(count: int, lost: int) -> list[Origin]:
    concealed = min(count, MAX_CONCEALED) if lost else 0
    return [Origin.CONCEALED] * concealed + [Origin.COMFORT] * (count - concealed)
