"""How long to wait before something that failed is tried again: one rule for all who try again.

The wait doubles with every failure in a row, up to a cap. A row ends when a try has held for
`steady_s`, and not when it has only begun well: what greets and dies at once is a failure too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

_MOST_DOUBLINGS = 32  # a float has no more than 1023


@dataclass(frozen=True, slots=True)
class Pace:
    """Waits of `first_s`, doubled for each failure in a row, up to `longest_s`.

    With `spread` each is cut by a random part, a half at most: processes that lost the same thing
    at the same moment must not come back to it together.
    """

    first_s: float
    longest_s: float
    spread: bool = True

    def wait_s(self, failures: int, jitter: Callable[[], float] = random.random) -> float:
        """Seconds to wait after `failures` in a row, 0 after none; `jitter` is in [0, 1)."""
        if failures <= 0:
            return 0.0
        full_s = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        return full_s * (0.5 + jitter() / 2) if self.spread else full_s


class Backoff:
    """The waits between the lives of one thing: a stream, a worker, a process.

    A life of `steady_s` seconds or more was no failure: the next one begins at once.
    """

    def __init__(self, pace: Pace, steady_s: float) -> None:
        self._pace = pace
        self._steady_s = steady_s
        self.failures = 0

    def after(self, lived_s: float) -> float:
        """Seconds to wait now that a life of `lived_s` seconds has ended."""
        self.failures = 0 if lived_s >= self._steady_s else self.failures + 1
        return self._pace.wait_s(self.failures)


STORE_PACE = Pace(first_s=0.2, longest_s=3.0)
"""Of whoever asks a store that did not answer."""
