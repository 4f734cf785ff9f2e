"""Counts frames that were not sent because nothing can be heard in them.

A report acknowledges packets; the backend counts frames. Without DTX each frame is a packet, so
only where the two part is noted: after how many packets how many frames had been passed over.
"""

from __future__ import annotations

from collections import deque

MAX_NOTED = 512  # pauses between two reports; beyond it the oldest is forgotten


class SkippedFrames:
    """Where in a stream of packets frames were left out."""

    def __init__(self) -> None:
        self.total = 0
        self._known = 0  # left out before the first that is noted
        self._noted: deque[tuple[int, int]] = deque()  # packets before, frames left out by then

    def resume(self, total: int) -> None:
        """Go on after another process had left out `total` frames."""
        self.total = self._known = total

    def add(self, packets: int, frames: int = 1) -> None:
        """So many more frames are left out, after `packets` packets."""
        self.total += frames
        if self._noted and self._noted[-1][0] == packets:
            self._noted.pop()
        self._noted.append((packets, self.total))
        if len(self._noted) > MAX_NOTED:
            self._known = self._noted.popleft()[1]

    def up_to(self, packets: int) -> int:
        """How many were left out before the end of the first `packets` and right after it."""
        while self._noted and self._noted[0][0] <= packets:
            self._known = self._noted.popleft()[1]
        return self._known
