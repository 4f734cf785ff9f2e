"""How often one kind of event may be a line in the log; the rest is counted."""

from __future__ import annotations

BURST = 5
INTERVAL_S = 10.0  # between two lines in the long run: 360 an hour


class LogRate:
    """Pure: times come from the caller's clock, in seconds."""

    def __init__(self, burst: int = BURST, interval_s: float = INTERVAL_S) -> None:
        self._burst_s = burst * interval_s
        self._interval_s = interval_s
        self._used_until_s = float("-inf")
        self.unsaid = 0  # since the last line

    def allows(self, now: float) -> bool:
        """Whether this one may be a line; if so, `unsaid` is for it to tell, by `take_unsaid`."""
        used_s = max(self._used_until_s, now) + self._interval_s
        if used_s - now > self._burst_s:
            self.unsaid += 1
            return False
        self._used_until_s = used_s
        return True

    def take_unsaid(self) -> int:
        """How many were not said since the last line."""
        unsaid, self.unsaid = self.unsaid, 0
        return unsaid
