"""What a call has sent, and a new owner of it may have to hear again. Pure: nothing waits in it.

    sent ──┬─▶ audio, until it is played or Kept ──────────────┬─▶ resume(taken): what came after
           └─▶ data, clears, usage and the rest, until Kept ───┘

Events are numbered from 1 as model.proto counts them, frames of audio from 0. Bounds: MAX_EVENTS
and MAX_BYTES in all; beyond them the oldest are forgotten, and counted in `forgotten`.
"""

from __future__ import annotations

from collections import deque
from heapq import merge
from typing import NamedTuple

from trunkline.v1 import model_pb2

MAX_EVENTS = 2048
MAX_BYTES = 512 * 1024


class _Entry(NamedTuple):
    number: int
    frame: int  # its own number, or that of the frame after it
    size_bytes: int
    content: tuple[bytes, int] | model_pb2.BackendEvent  # payload and duration, or all the rest

    def event(self) -> model_pb2.BackendEvent:
        """What is sent."""
        if isinstance(self.content, model_pb2.BackendEvent):
            return self.content
        payload, duration = self.content
        return model_pb2.BackendEvent(audio=model_pb2.Audio(payload=payload, duration=duration))

    @property
    def clears(self) -> bool:
        """Whether it forgets the frames before it."""
        return not isinstance(self.content, tuple) and self.content.HasField("clear")


class Again(NamedTuple):
    """What is to be said again, with the bytes of each.

    `played` frames are past for the new owner, `cleared` of them because of a Clear that is said
    again. `hole` is how many events are gone that it should have heard, at most.
    """

    events: list[tuple[model_pb2.BackendEvent, int]]
    played: int
    cleared: int
    hole: int


class SentLog:
    """The events of one call that may have to be sent again."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self.sent = 0  # the number of the newest event
        self.frames = 0  # that were sent
        self.played = 0  # frames known to have been sent on or cleared
        self.forgotten = 0
        self.size_bytes = 0
        self._max_events, self._max_bytes = max_events, max_bytes
        self._audio: deque[_Entry] = deque()
        self._others: deque[_Entry] = deque()
        self._gone = 0  # the number of the newest event that was forgotten

    def __len__(self) -> int:
        return len(self._audio) + len(self._others)

    def add_audio(self, payload: bytes, duration: int) -> None:
        """A frame was sent."""
        self.sent += 1
        self.size_bytes += len(payload)
        self._audio.append(_Entry(self.sent, self.frames, len(payload), (payload, duration)))
        self.frames += 1
        self._stay_bounded()

    def add(self, event: model_pb2.BackendEvent, size_bytes: int) -> None:
        """Any other event was sent."""
        self.sent += 1
        self.size_bytes += size_bytes
        self._others.append(_Entry(self.sent, self.frames, size_bytes, event))
        self._stay_bounded()

    def kept(self, taken: int) -> None:
        """A new owner would know of the events up to `taken`."""
        for entries in (self._audio, self._others):
            while entries and entries[0].number <= taken:
                self._drop_first(entries)

    def note_played(self, frames: int) -> None:
        """So many frames were sent on or cleared: nobody may hear them twice."""
        self.played = max(self.played, min(frames, self.frames))
        while self._audio and self._audio[0].frame < self.played:
            self._drop_first(self._audio)

    def resume(self, taken: int) -> Again:
        """What must be said again to an owner that knows of the events up to `taken`.

        Counting goes on from there: what is said again has the numbers after `taken`.
        """
        cleared_at = max((e.frame for e in self._others if _clears(e, taken)), default=0)
        cleared = max(0, cleared_at - self.played)
        self.note_played(cleared_at)
        hole = max(0, self._gone - taken)
        audio, others = (self._cut(entries, taken) for entries in (self._audio, self._others))
        again = list(merge(audio, others, key=_number))
        self.sent, self._gone = taken, min(self._gone, taken)
        for entry in again:
            self._add_again(entry)
        return Again([(e.event(), e.size_bytes) for e in again], self.played, cleared, hole)

    def _cut(self, entries: deque[_Entry], taken: int) -> list[_Entry]:
        later: list[_Entry] = []
        while entries and entries[-1].number > taken:
            later.append(entries.pop())
        return later[::-1]

    def _add_again(self, entry: _Entry) -> None:
        self.sent += 1
        entries = self._audio if isinstance(entry.content, tuple) else self._others
        entries.append(entry._replace(number=self.sent))

    def _stay_bounded(self) -> None:
        while len(self) > self._max_events or self.size_bytes > self._max_bytes:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        oldest = self._drop_first(min(filter(None, (self._audio, self._others)), key=_first))
        self._gone = oldest.number
        self.forgotten += 1
        if isinstance(oldest.content, tuple):  # or frames would be counted differently ever after
            self.played = oldest.frame + 1

    def _drop_first(self, entries: deque[_Entry]) -> _Entry:
        entry = entries.popleft()
        self.size_bytes -= entry.size_bytes
        return entry


def _clears(entry: _Entry, taken: int) -> bool:
    return entry.number > taken and entry.clears


def _number(entry: _Entry) -> int:
    return entry.number


def _first(entries: deque[_Entry]) -> int:
    return entries[0].number
