"""How the work of a function grows with its input, as a ratio and never as a time."""

from __future__ import annotations

import time
from collections.abc import Callable

ROUNDS = 7
SHORTEST_S = 0.002  # of one measurement: shorter ones are repeated until they are that long
LINEAR = 8.0
"""Bound for `growth`: linear work gives 4, work that grows with the square gives 16."""

Work = Callable[[], object]


def growth(make: Callable[[int], Work], size: int) -> float:
    """CPU time of the work that `make` prepares for `size`, over that for a quarter of it."""
    return ratio(make(size), make(size // 4))


def ratio(work: Work, yardstick: Work) -> float:
    """CPU time of some work, over that of another; each is the least of several rounds in turn, so
    that neighbours on the machine do not count."""
    times = max(1, round(SHORTEST_S / max(_cpu_s(yardstick, 1), 1e-9)))
    rounds = [(_cpu_s(yardstick, times), _cpu_s(work, times)) for _ in range(ROUNDS)]
    return min(pair[1] for pair in rounds) / min(pair[0] for pair in rounds)


def _cpu_s(work: Work, times: int) -> float:
    began_s = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - began_s
