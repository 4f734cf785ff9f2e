"""One token bucket: how many in a second, and how many at once."""

from __future__ import annotations


class Allowance:
    """`rate_per_s` tokens a second, at most `burst` kept. Full to begin with."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = self._tokens = float(burst)
        self._seen_ms = 0

    def take(self, wanted: int, now_ms: int) -> int:
        """Whole tokens given now, at most `wanted`."""
        self._refill(now_ms)
        given = min(wanted, int(self._tokens))
        self._tokens -= given
        return given

    def spend(self, wanted: int, now_ms: int) -> bool:
        """Whether there are `wanted` tokens now, which are given then; or none is."""
        self._refill(now_ms)
        if self._tokens < wanted:
            return False
        self._tokens -= wanted
        return True

    def _refill(self, now_ms: int) -> None:
        passed_ms = max(0, now_ms - self._seen_ms)
        self._seen_ms = now_ms
        self._tokens = min(self._burst, self._tokens + passed_ms * self._rate_per_s / 1000)
