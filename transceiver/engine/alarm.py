"""The one timer of an event loop that wakes all sessions (`transceiver.engine.wheel`)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from transceiver.engine.wheel import Wheel

Key = TypeVar("Key", bound=Hashable)


class Alarm(Generic[Key]):
    """Wakes keys at their time; `ring(keys, now)` hears which, earliest first."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ring: Callable[[list[Key], float], None]
    ) -> None:
        self.wheel: Wheel[Key] = Wheel()
        self.timer: asyncio.TimerHandle | None = None
        self._loop = loop
        self._ring = ring
        self._timer_s = math.inf

    def wake_at(self, key: Key, when_s: float) -> None:
        """Wake the key then; replaces what was asked before."""
        self.wheel.schedule(key, when_s)
        if when_s < self._timer_s:
            self._arm()

    def cancel(self, key: Key) -> None:
        """Do not wake it."""
        self.wheel.cancel(key)

    def stop(self) -> None:
        """Wake nobody any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _arm(self) -> None:
        next_s = self.wheel.next_s()
        if next_s == self._timer_s:
            return
        self.stop()
        self._timer_s = math.inf if next_s is None else next_s
        if next_s is not None:
            self.timer = self._loop.call_at(next_s, self._on_timer)

    def _on_timer(self) -> None:
        # Loops round: a timer may fire a little early, and must not find its slot not yet due.
        now = max(self._loop.time(), self._timer_s)
        self.timer, self._timer_s = None, -math.inf  # what is scheduled meanwhile must not arm
        try:
            self._ring(self.wheel.expire(now), now)
        finally:  # whatever happens, the others have their timer
            self._timer_s = math.inf
            self._arm()
