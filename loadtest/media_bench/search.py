"""Finds the largest load that holds: grow until one fails, then halve the gap. Pure.

Loads are whole numbers. A trial is run by whoever asks; a failed one is tried once more before it
counts, because a shared machine has bad moments and a capacity has to hold on a good one.
"""

from __future__ import annotations

GROWTH = 1.5
PRECISION = 0.05


class CapacitySearch:
    """Say `next()`, run that load, report it by `note`, until `next()` is None."""

    def __init__(
        self, first: int, most: int, precision: float = PRECISION, growth: float = GROWTH
    ) -> None:
        self.best = 0
        """The largest load that held; 0 before any did."""
        self._failed: int | None = None
        self._most = most
        self._candidate = min(first, most)
        self._precision = precision
        self._growth = growth
        self._second_try = False

    @property
    def capped(self) -> bool:
        """Whether the most that was allowed held, so that the true figure may be higher."""
        return self.best >= self._most

    def next(self) -> int | None:
        """Return the load to try; None when the answer is known closely enough."""
        failed = self._failed
        if self.capped or (failed is not None and failed - self.best <= self._step(failed)):
            return None
        return self._candidate

    def note(self, load: int, *, held: bool) -> None:
        """Take the outcome of a trial."""
        if held:
            self.best = max(self.best, load)
        elif not self._second_try:
            self._second_try = True
            return
        else:
            self._failed = load
        self._second_try = False
        self._candidate = self._following()

    def _following(self) -> int:
        if self._failed is None:
            return min(self._most, max(self.best + 1, round(self.best * self._growth)))
        return max(1, (self.best + self._failed) // 2)

    def _step(self, failed: int) -> float:
        return max(1.0, failed * self._precision)
