"""The seconds of a run. Each is reported when nothing more can be added to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from loadtest.live.line import Chunk, Line
from loadtest.live.tally import Tally
from loadtest.media_bench.lateness import Times


class Tallies:
    """`tell` gets a tally for each second, in order; `start_s` is the Unix time of second 0."""

    def __init__(self, start_s: float, tell: Callable[[Tally], None]) -> None:
        self._start_s = start_s
        self._tell = tell
        self._open: dict[int, Tally] = {}
        self._told = 0

    def at(self, at_s: float | None = None) -> Tally:
        """The tally of a Unix time, now by default; of a second that was told, the next one's."""
        second = int((time.time() if at_s is None else at_s) - self._start_s)
        second = max(second, self._told, 0)
        return self._open.setdefault(second, Tally(second))

    def note(self, line: Line, *, over: bool = False) -> None:
        """Take over what happened on a call's line since the last time."""
        now_s = time.time()
        for chunk in line.judged(now_s, over=over):
            self._count(chunk)
        tally = self.at()
        if gap_s := line.take_gap():
            tally.gap_ms.add((1000 * gap_s,))
        tally.barge_in_ms.add(1000 * late_s for late_s in line.take_barge_ins(now_s))
        tally.duplicates += line.duplicates
        tally.rejected += line.rejected
        line.duplicates = line.rejected = 0

    def tell_until(self, second: int) -> None:
        """Tell every second before this one."""
        while self._told < second:
            self._tell(self._open.pop(self._told, Tally(self._told)))
            self._told += 1

    def tell_rest(self) -> None:
        """Tell all there is."""
        self.tell_until(max(self._open, default=0) + 1)

    def _count(self, chunk: Chunk) -> None:
        """Add frames to the seconds they were due in; a chunk lies in two."""
        for tally, frames in self._by_second(chunk.echoed_at_s):
            tally.sent += int(frames.sum())
            tally.echoed += int(frames.sum())
            tally.lateness_ms.add(1000 * chunk.lateness_s[frames])
            tally.send_lateness_ms.add(1000 * chunk.send_lateness_s[frames])
        for tally, frames in self._by_second(chunk.lost_at_s):
            tally.sent += int(frames.sum())

    def _by_second(self, at_s: Times) -> Iterator[tuple[Tally, npt.NDArray[np.bool_]]]:
        """The tallies of these times, each with which of them are its own."""
        seconds = np.floor(at_s - self._start_s)
        for second in np.unique(seconds):
            yield self.at(self._start_s + float(second) + 0.5), seconds == second
