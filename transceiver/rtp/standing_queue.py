"""The standing queue: how long every recent frame waited, and how much can be taken back.

A queue that a burst or a slow start has filled stays filled when its source speaks in real time:
each frame that leaves makes room for the one that comes, and all that follows is late by the same
time for the rest of the call. It shows in the least wait: a queue that did its work (evening out
jitter) was empty for somebody within half a second, one that only stands was empty for nobody.

    waits of frames      3 0 8 5 0 …      least 0   → nothing stands
                         43 40 48 45 …    least 40  → 40 ms stand: time to hurry by
                         43 60 85 110 …   growing   → a source that runs ahead: its queue is meant
                         5 s              too much  → the same
"""

from __future__ import annotations

import math

WINDOW = 5  # windows of 0.1 s: longer than jitter takes to show its least
STEADY_S = 0.010  # between the least of two windows: beyond it the queue grows, and does not stand
MAX_STANDING_S = 0.2  # more is queued by a source that speaks faster than real time


class StandingWait:
    """Notes waits in seconds; negative ones are of frames that came late. Pure."""

    def __init__(self) -> None:
        self.surplus_s = 0.0
        """What all frames of the last window could have been spared, less what was taken."""
        self._least_s = self._least_before_s = math.inf
        self._noted = 0

    def note(self, least_wait_s: float) -> None:
        """Of the frames of the last 0.1 s none would wait shorter (`live_source`)."""
        self._least_s = min(self._least_s, least_wait_s)
        self._noted += 1
        if self._noted == WINDOW:
            self._turn()

    def take(self, most_s: float) -> float:
        """Some of the surplus, at most so much; it is then taken back."""
        taken_s = min(self.surplus_s, most_s)
        self.surplus_s -= taken_s
        return taken_s

    def _turn(self) -> None:
        least_s, self._least_s = self._least_s, math.inf
        steady = least_s - self._least_before_s < STEADY_S
        stands = steady and 0 < least_s <= MAX_STANDING_S
        self.surplus_s = least_s if stands else 0.0
        self._least_before_s = least_s
        self._noted = 0
