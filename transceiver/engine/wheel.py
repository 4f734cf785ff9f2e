"""One timer wheel for all sessions of a process.

A key (a session) has at most one place on it. Times are rounded up to `tick_s`, an eighth of the
usual 20 ms frame, so that all sessions due in the same eighth share one wake-up and their packets
share trunk datagrams, while the phases of different calls stay apart.

There is a slot for each tick that someone waits for, and a heap of these ticks; an empty slot
stays until its tick comes. So the cost is a dictionary write for each move of a key, and memory
is bounded by the keys alive and the ticks between now and the farthest deadline.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

TICK_S = 0.0025

Key = TypeVar("Key", bound=Hashable)


class Wheel(Generic[Key]):
    """Deadlines by key, in seconds of whatever clock `now` is read from."""

    def __init__(self, tick_s: float = TICK_S) -> None:
        self._tick_s = tick_s
        self._tick_of: dict[Key, int] = {}
        self._slots: dict[int, dict[Key, None]] = {}
        self._ticks: list[int] = []  # heap of the keys of `_slots`
        self._taken = -1  # the last tick that `expire` took off

    def __len__(self) -> int:
        return len(self._tick_of)

    def schedule(self, key: Key, when_s: float) -> None:
        """Wake `key` at the first tick not before `when_s`; this replaces its earlier deadline.

        A tick that was taken off does not come again: what is overdue comes with the next one, so
        a key that asks for the past from within its own deadline cannot keep the process busy.
        """
        tick = math.ceil(when_s / self._tick_s)
        if tick * self._tick_s < when_s:  # the division rounded down
            tick += 1
        tick = max(tick, self._taken + 1)
        before = self._tick_of.get(key)
        if before == tick:
            return
        if before is not None:
            self._slots[before].pop(key, None)
        self._tick_of[key] = tick
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = {}
            heapq.heappush(self._ticks, tick)
        slot[key] = None

    def cancel(self, key: Key) -> None:
        """Forget `key`; nothing happens when it has no deadline."""
        tick = self._tick_of.pop(key, None)
        if tick is not None:
            self._slots[tick].pop(key, None)

    def next_s(self) -> float | None:
        """The earliest deadline; None when nobody waits."""
        while self._ticks and not self._slots[self._ticks[0]]:
            del self._slots[heapq.heappop(self._ticks)]
        return self._ticks[0] * self._tick_s if self._ticks else None

    def expire(self, now: float) -> list[Key]:
        """Take off and return the keys whose deadline has come, earliest first."""
        due: list[Key] = []
        while self._ticks and self._ticks[0] * self._tick_s <= now:
            self._taken = heapq.heappop(self._ticks)
            due += self._slots.pop(self._taken)
        for key in due:
            del self._tick_of[key]
        return due
