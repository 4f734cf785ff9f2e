"""How often calls that were not taken may be tried again, so that no retry multiplies load.

Every first try earns a tenth of a retry. So however many calls fail, a backend gets at most 10 %
more than was offered to it. Retries do not make a storm worse in which everything fails.
"""

from __future__ import annotations

FIRST_TRIES_A_RETRY = 10
MOST_SAVED = 20  # retries; a quiet hour must not pay for a storm


class RetryBudget:
    """Begins empty."""

    def __init__(self) -> None:
        self._tenths = 0

    def earn(self) -> None:
        """A call is tried for the first time."""
        self._tenths = min(self._tenths + 1, MOST_SAVED * FIRST_TRIES_A_RETRY)

    def spend(self) -> bool:
        """Whether one may be tried again; if so, it has been paid for."""
        if self._tenths < FIRST_TRIES_A_RETRY:
            return False
        self._tenths -= FIRST_TRIES_A_RETRY
        return True
