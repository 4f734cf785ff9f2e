"""The reorder window: packets go in as they come, and frames come out in order.

Theory of operation. A packet that is next in order leaves at once, so a clean path costs no delay.
One that is ahead leaves a hole before it and waits for the hole to be filled, but not for long:

    next = 10        push 12 → held        push 10 → 10        push 11 → 11, 12
                     push 12 → held        60 ms later          → 12 with lost = 2
                     push 30 → 30 with lost = 20 at once: a hole that wide does not fill in time

The window is `MAX_AHEAD` sequence numbers wide, so it cannot hold more packets than that. What
comes behind is a duplicate, or late if its hole was given up; neither leaves the window.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import NamedTuple

HOLD_S = (
    0.060  # three frames: longer would cost every caller behind a lossy path more than it saves
)
MAX_AHEAD = 16  # packets
MAX_GIVEN_UP = 64  # sequence numbers remembered to tell late from duplicate
# RFC 3550 A.1: a sender this far behind where it was has started anew, if two packets say so.
MAX_MISORDER = 100


class Origin(Enum):
    """Where the sound of a frame comes from."""

    PACKET = "packet"
    FEC = "fec"  # the in-band FEC of the packet after it, which `payload` then is
    CONCEALED = "concealed"  # the decoder's guess at what is lost
    COMFORT = "comfort"  # the noise of a pause


_PACKET = Origin.PACKET  # Python 3.11 takes 0.1 µs to look up a member of an Enum


class Frame(NamedTuple):
    """One frame in order. `lost`: packets missing immediately before it.

    The reorder window gives packets only; the jitter buffer fills gaps, and knows `duration`.
    """

    payload: bytes
    timestamp: int
    lost: int
    origin: Origin = Origin.PACKET
    duration: int = 0  # 48 kHz ticks; 0: the payload says


class _Held(NamedTuple):
    payload: bytes
    timestamp: int
    arrived_s: float


class ReorderWindow:
    """Puts the packets of one SSRC in order. Sequence numbers are 16 bits and wrap."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._held: dict[int, _Held] = {}
        self._given_up: OrderedDict[int, None] = OrderedDict()
        self._restart_at: int | None = None
        self.duplicates = 0
        self.late = 0
        self.lost = 0
        self.left_out = 0  # nothing ever: a listener that takes packets catches up by itself
        self.waited_s = 0.0  # what packets have waited here, all together

    def __len__(self) -> int:
        return len(self._held)

    @property
    def pressing(self) -> bool:
        """Whether a packet may have brought the deadline forward."""
        return bool(self._held)

    def recover(self, sequence: int, timestamp: int, payload: bytes, now: float) -> list[Frame]:
        """As `push`, for a copy that came with a later packet: taken only if it fills a hole."""
        if self._next is None or sequence in self._held:
            return []
        if (sequence - self._next) & 0xFFFF > MAX_AHEAD:
            return []
        return self.push(sequence, timestamp, payload, now)

    def push(self, sequence: int, timestamp: int, payload: bytes, now: float) -> list[Frame]:
        """The frames that this packet lets go, in order; mostly itself."""
        if sequence == self._next and not self._held:
            # Nearly every packet. A tuple made directly skips the constructor: half of all this.
            self._next = (sequence + 1) & 0xFFFF
            return [tuple.__new__(Frame, (payload, timestamp, 0, _PACKET, 0))]
        if self._next is None:
            self._next = sequence
        ahead = (sequence - self._next) & 0xFFFF
        if ahead >= 0x8000:
            return self._behind(sequence, timestamp, payload, 0x10000 - ahead)
        if sequence in self._held:
            self.duplicates += 1
            return []
        self._held[sequence] = _Held(payload, timestamp, now)
        if ahead > MAX_AHEAD:
            return self.flush()
        return self._run(0, now) + self.expire(now)

    def expect(self, sequence: int) -> None:
        """Begin with `sequence`: what comes before it has been heard elsewhere."""
        self._next = sequence & 0xFFFF

    def deadline_s(self) -> float | None:
        """When `expire` will have something; None while nothing is held."""
        if not self._held:
            return None
        return min(held.arrived_s for held in self._held.values()) + HOLD_S

    def expire(self, now: float) -> list[Frame]:
        """Give up the holes whose time is over and let go what waited behind them."""
        frames: list[Frame] = []
        while (deadline_s := self.deadline_s()) is not None and now >= deadline_s:
            frames += self._skip_hole(now)
        return frames

    def flush(self) -> list[Frame]:
        """Let go everything, giving up every hole: the stream ends or has jumped."""
        frames: list[Frame] = []
        while self._held:
            newest_s = max(held.arrived_s for held in self._held.values())
            frames += self._skip_hole(newest_s)
        return frames

    def _behind(self, sequence: int, timestamp: int, payload: bytes, behind: int) -> list[Frame]:
        if sequence in self._given_up:
            del self._given_up[sequence]
            self.late += 1
            return []
        if behind > MAX_MISORDER and sequence == self._restart_at:
            frames = self.flush()
            self._next, self._restart_at = (sequence + 1) & 0xFFFF, None
            return [*frames, Frame(payload, timestamp, 0)]
        self._restart_at = (sequence + 1) & 0xFFFF if behind > MAX_MISORDER else None
        self.duplicates += 1
        return []

    def _skip_hole(self, now: float) -> list[Frame]:
        start = self._next or 0
        nearest = min((sequence - start) & 0xFFFF for sequence in self._held)
        for offset in range(max(0, nearest - MAX_GIVEN_UP), nearest):
            self._given_up[(start + offset) & 0xFFFF] = None
        while len(self._given_up) > MAX_GIVEN_UP:
            self._given_up.popitem(last=False)
        self._next = (start + nearest) & 0xFFFF
        self.lost += nearest
        return self._run(nearest, now)

    def _run(self, lost: int, now: float) -> list[Frame]:
        frames: list[Frame] = []
        sequence = self._next or 0
        while (held := self._held.pop(sequence, None)) is not None:
            frames.append(Frame(held.payload, held.timestamp, lost))
            self.waited_s += now - held.arrived_s
            lost = 0
            sequence = (sequence + 1) & 0xFFFF
        self._next = sequence
        return frames
