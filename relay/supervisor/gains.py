"""How much counters gained between two looks at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


class Gains:
    """One watcher's memory of the last look."""

    def __init__(self) -> None:
        self._before: Counter[str] = Counter()
        self._before_ms: int | None = None

    def since_last(
        self, counters: Sequence[Mapping[str, int]], now_ms: int
    ) -> tuple[int, dict[str, int]]:
        """Milliseconds since the last look (0 at the first), and what the sums gained since.

        What stood still or fell (a gauge) is left out. The first look gains all since the start.
        """
        total: Counter[str] = Counter()
        for one in counters:
            total.update(one)
        gained = {name: gain for name in total if (gain := total[name] - self._before[name]) > 0}
        elapsed_ms = 0 if self._before_ms is None else now_ms - self._before_ms
        self._before, self._before_ms = total, now_ms
        return elapsed_ms, gained
