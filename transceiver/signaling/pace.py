"""A pace that is kept by waiting: what comes faster takes its turn later. Pure."""

from __future__ import annotations


class Pace:
    """Deals out turns: `burst` at once, then `rate_per_s`; nobody waits longer than `longest_s`.

    Times come from the caller's clock, in seconds.
    """

    def __init__(self, rate_per_s: float, burst: float, longest_s: float) -> None:
        self._interval_s = 1 / rate_per_s
        self._credit_s = burst / rate_per_s
        self._longest_s = longest_s
        self._turn_s = float("-inf")

    def wait_s(self, now: float, turns: float = 1.0) -> float:
        """How long the next `turns` wait; 0 within the burst, `longest_s` at most."""
        self._turn_s = max(self._turn_s, now - self._credit_s) + turns * self._interval_s
        self._turn_s = min(self._turn_s, now + self._longest_s)
        return min(max(0.0, self._turn_s - now), self._longest_s)  # the sum was rounded
