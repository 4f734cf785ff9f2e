"""One connected call: what to send next, and what became of it. No socket, no clock.

A frame that is said waits for its echo by its payload, which no other frame of that time has. Fifty
frames are a chunk; a chunk is judged when its last frame has had its grace period. Lateness is that
of `media_bench.lateness`, over the frames of one chunk: a delay that all of them have is delay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from loadtest.callers.voice import Voice
from loadtest.live.speaking import Kind, Vocabulary, is_talking, payload, starts_talking
from loadtest.media_bench.lateness import Times, lateness_s

CHUNK_FRAMES = 50
GRACE_S = 1.0
REPLY_GAP_S = 0.2
"""A backend that is silent for this long has stopped speaking."""


@dataclass(slots=True)
class _Frame:
    scheduled_s: float
    sent_s: float
    seen_s: float | None = None


@dataclass(frozen=True)
class Chunk:
    """Fifty frames (fewer at the end of a call), judged. Times in seconds.

    `echoed_at_s` and `lost_at_s` are when frames were due; the other two go by echoed frame.
    """

    echoed_at_s: Times
    lost_at_s: Times
    lateness_s: Times
    send_lateness_s: Times


@dataclass
class Line:
    """`echoes`: the backend says everything back; else it answers when the caller pauses."""

    voice: Voice
    kind: Kind
    vocabulary: Vocabulary
    echoes: bool
    started_s: float
    duplicates: int = 0
    rejected: int = 0
    gap_s: float = 0.0
    """Longest silence since `take_gap`; of calls that are echoed."""
    barge_in_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing was said or heard yet."""
        self.heard_s = self.started_s
        self._frame = 0
        self._open: list[_Frame] = []
        self._chunks: deque[list[_Frame]] = deque()
        self._waiting: dict[bytes, _Frame] = {}
        self._barged_s: float | None = None
        self._loud = frozenset(self.vocabulary.loud)

    def say(self, scheduled_s: float, now_s: float) -> bytes:
        """The next 20 ms, protected."""
        words = payload(self.vocabulary, self.kind, self._frame)
        if self.echoes:
            self._waiting[words] = frame = _Frame(scheduled_s, now_s)
            self._open.append(frame)
            if len(self._open) == CHUNK_FRAMES:
                self._chunks.append(self._open)
                self._open = []
        elif starts_talking(self.kind, self._frame) and now_s - self.heard_s < REPLY_GAP_S / 2:
            self._barged_s = now_s
        self._frame += 1
        return self.voice.say((words,))[0]

    def hear(self, packet: bytes, seen_s: float) -> None:
        """Take a media packet."""
        words = self.voice.open(packet)
        if words is None:
            self.rejected += 1
        elif self.echoes:
            self._match(words, seen_s)
        elif words in self._loud:
            self._note(seen_s)

    @property
    def talking(self) -> bool:
        """Whether it speaks now."""
        return is_talking(self.kind, self._frame)

    def take_gap(self) -> float:
        """The longest silence since this was asked last, in seconds; 0 when nothing was heard."""
        gap_s, self.gap_s = self.gap_s, 0.0
        return gap_s

    def judged(self, now_s: float, *, over: bool = False) -> Iterator[Chunk]:
        """The chunks whose time is up; all of them when the call is over.

        Frames of a call that ends have had no grace period, so those without echo are left out.
        """
        while self._chunks and (over or self._chunks[0][-1].sent_s + GRACE_S < now_s):
            yield self._judge(self._chunks.popleft(), now_s)
        if over and self._open:
            yield self._judge(self._open, now_s)
            self._open = []

    def take_barge_ins(self, now_s: float) -> list[float]:
        """How long the backend went on talking after each interruption, in seconds."""
        if self._barged_s is not None and now_s - max(self.heard_s, self._barged_s) > REPLY_GAP_S:
            self.barge_in_s.append(max(0.0, self.heard_s - self._barged_s))
            self._barged_s = None
        found, self.barge_in_s = self.barge_in_s, []
        return found

    def _match(self, words: bytes, seen_s: float) -> None:
        frame = self._waiting.get(words)
        if frame is None or frame.seen_s is not None:
            self.duplicates += 1
            return
        frame.seen_s = seen_s
        self._note(seen_s)

    def _note(self, seen_s: float) -> None:
        if self.echoes:  # a backend that waits for its turn is silent by right
            self.gap_s = max(self.gap_s, seen_s - self.heard_s)
        self.heard_s = max(self.heard_s, seen_s)

    def _judge(self, frames: list[_Frame], now_s: float) -> Chunk:
        found = [frame for frame in frames if frame.seen_s is not None]
        lost = (f for f in frames if f.seen_s is None and f.sent_s + GRACE_S < now_s)
        scheduled, sent = _times(f.scheduled_s for f in found), _times(f.sent_s for f in found)
        seen = _times(f.seen_s or 0.0 for f in found)
        late = lateness_s(scheduled, sent, seen)
        return Chunk(scheduled, _times(f.scheduled_s for f in lost), late, sent - scheduled)


def _times(values: Iterator[float]) -> Times:
    return np.fromiter(values, np.float64)
