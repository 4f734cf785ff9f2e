"""Percentiles of measured times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict


class Spread(TypedDict):
    """A sample in three numbers, rounded to 0.01."""

    p50: float
    p99: float
    max: float


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: the least value that `percent` % do not exceed.

    Always one of the values, so that a p99 of ten calls is a call that happened. Raises ValueError
    without values or for a percentage outside 0–100.
    """
    if not values or not 0 <= percent <= 100:
        raise ValueError("a percentile needs values and a percentage from 0 to 100")
    rank = math.ceil(percent / 100 * len(values))
    return sorted(values)[max(rank, 1) - 1]


def spread(values: Sequence[float]) -> Spread | None:
    """Return median, 99th percentile and maximum; None without values."""
    if not values:
        return None
    return Spread(
        p50=round(percentile(values, 50), 2),
        p99=round(percentile(values, 99), 2),
        max=round(max(values), 2),
    )
