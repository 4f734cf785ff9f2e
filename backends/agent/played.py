"""How much of each item has left for the caller's ear. Pure.

Frames leave in the order they were sent, and a clear forgets all that have not left. So the count
of frames that left (`Playout.sent`) says of every frame in the ledger whether it was played.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

FRAME_MS = 20


@dataclass
class Run:
    """Frames of an item in a row; `first` is the number of the first in the call."""

    item_id: str
    first: int
    before: int = 0  # frames of the item that had left when this run began
    frames: int = 0

    def left(self, count: int) -> int:
        """How many of them are among the first `count` of the call."""
        return min(self.frames, max(0, count - self.first))


class Played:
    """The frames sent, by item, as far as they may still wait. Bounded by `settle`."""

    def __init__(self) -> None:
        self.total = 0  # frames that will have left when all of them are played
        self._runs: deque[Run] = deque()
        self._gone = Run("", 0)  # the last run that has left

    def sent(self, item_id: str) -> None:
        """A frame of an item went on its way."""
        if not self._runs or self._runs[-1].item_id != item_id:
            gone = self._gone
            before = gone.before + gone.frames if gone.item_id == item_id else 0
            self._runs.append(Run(item_id, self.total, before))
        self._runs[-1].frames += 1
        self.total += 1

    def newest(self, item_id: str) -> Run | None:
        """The frames of an item that were sent last."""
        runs = (*reversed(self._runs), self._gone)
        return next((run for run in runs if item_id and run.item_id == item_id), None)

    def settle(self, left: int) -> bool:
        """`left` frames of the call have left; whether those are all that were sent."""
        while self._runs and self._runs[0].left(left) == self._runs[0].frames:
            self._gone = self._runs.popleft()
        return left >= self.total

    def unfinished(self, left: int) -> dict[str, int]:
        """Of each item that `left` frames of the call do not complete: milliseconds of it heard."""
        runs = [run for run in self._runs if run.left(left) < run.frames]
        return {run.item_id: (run.before + run.left(left)) * FRAME_MS for run in runs}

    def cut(self, left: int) -> dict[str, int]:
        """All but the first `left` frames are forgotten: milliseconds heard of each item cut."""
        heard = self.unfinished(left)
        self._runs.clear()
        self.total = left
        return heard
