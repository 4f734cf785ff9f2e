"""How long to wait before asking a store again that did not answer."""

from __future__ import annotations

import random
from collections.abc import Callable

BASE_S = 0.2
CAP_S = 3.0


def backoff_s(failures: int, jitter: Callable[[], float] = random.random) -> float:
    """Seconds to wait after `failures` (≥ 1) in a row: doubling, at most 3 s, at least half of it.

    `jitter` is uniform in [0, 1). A fleet that lost its store together must not come back to it
    together.
    """
    full_s = min(CAP_S, BASE_S * 2.0 ** min(failures - 1, 16))
    return full_s * (0.5 + jitter() / 2)
