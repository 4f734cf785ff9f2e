"""Times in bins that grow by 2 %, so that what many processes saw can be added up. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

SMALLEST_MS = 0.01
STEP = 1.02
BINS = 1000
"""The last one begins beyond an hour; what is longer is counted in it."""

_EDGES_MS = SMALLEST_MS * STEP ** np.arange(BINS)


class Histogram:
    """Counts of times in ms, bounded to `BINS` entries. A percentile is exact to 2 %."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        """Take counts by bin, as `counts` gives them. Raises ValueError for a bin there is not."""
        self._counts: Counter[int] = Counter(counts or {})
        if any(not 0 <= bin_ < BINS for bin_ in self._counts):
            raise ValueError(f"a bin is 0 to {BINS - 1}")

    def add(self, times_ms: Iterable[float] | npt.NDArray[np.float64]) -> None:
        """Count times."""
        array = (
            np.fromiter(times_ms, np.float64) if not isinstance(times_ms, np.ndarray) else times_ms
        )
        bins = np.searchsorted(_EDGES_MS, array).clip(max=BINS - 1)
        found, counts = np.unique(bins, return_counts=True)
        self._counts.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))

    def merge(self, other: Histogram) -> None:
        """Add another one's counts."""
        self._counts.update(other._counts)

    @property
    def total(self) -> int:
        """How many times were counted."""
        return self._counts.total()

    @property
    def counts(self) -> dict[int, int]:
        """Counts by bin, without the empty ones."""
        return dict(self._counts)

    def percentile(self, percent: float) -> float | None:
        """The time in ms that `percent` % do not exceed, to 2 %; None without any."""
        left = self.total * percent / 100
        for bin_ in sorted(self._counts):
            left -= self._counts[bin_]
            if left <= 0:
                return round(float(_EDGES_MS[bin_]), 3)
        return None
