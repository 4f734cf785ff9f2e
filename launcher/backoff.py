"""How long to wait before a part that died is started again."""

from __future__ import annotations

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 10.0
STABLE_AFTER_S = 30.0
"""A part that ran this long was well: its next death starts the row anew."""


class Backoff:
    """0.5 s, 1 s, 2 s … up to 10 s, while the part keeps dying young."""

    def __init__(self) -> None:
        self._next_s = FIRST_DELAY_S

    def after(self, uptime_s: float) -> float:
        """Return the delay in seconds after a life of `uptime_s` seconds."""
        delay_s = FIRST_DELAY_S if uptime_s >= STABLE_AFTER_S else self._next_s
        self._next_s = min(delay_s * 2, LONGEST_DELAY_S)
        return delay_s
