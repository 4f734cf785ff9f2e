"""Several runs as one figure: the median, with minimum and maximum beside it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TypedDict


class Range(TypedDict):
    """The least and the greatest of several runs."""

    min: float
    max: float


def middle(values: Sequence[float]) -> float:
    """The median, to four digits. Raises statistics.StatisticsError without values."""
    return _short(median(values))


def ends(values: Sequence[float]) -> Range:
    """The least and the greatest value, to four digits. Raises ValueError without values."""
    return Range(min=_short(min(values)), max=_short(max(values)))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, run by run: what slowed a whole run down does not count."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def _short(value: float) -> float:
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")
