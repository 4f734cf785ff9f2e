"""Decimal arithmetic: sums of lines are exact, so layers, kinds and calls add up to one bill."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Annotated

from pydantic import PlainSerializer

GRAIN = Decimal("1e-12")  # of the currency: what one cached token costs has five digits more
MOST = 1e15  # of any unit: what is more is no measurement
# 38 digits before the point and 12 after it: no sum of ours is rounded.
EXACT = Context(prec=50)
ZERO = Decimal(0)


def _plain(value: Decimal) -> str:
    return format(EXACT.normalize(value), "f") if value else "0"


Money = Annotated[Decimal, PlainSerializer(_plain, return_type=str)]
"""An amount of the book's currency; in JSON a string, so that no reader rounds it."""


def measured(value: float | None) -> Decimal:
    """A figure of the record; 0 for what is none."""
    if value is None or not math.isfinite(value) or not 0 <= value <= MOST:
        return ZERO
    return Decimal(repr(value))


def worth(amount: Decimal, price: Decimal) -> Decimal:
    """What an amount costs, to the grain."""
    return EXACT.quantize(EXACT.multiply(amount, price), GRAIN)


def total(values: Iterable[Decimal | None]) -> Decimal:
    """The sum of what is known."""
    found = ZERO
    for value in values:
        found = EXACT.add(found, value or ZERO)
    return found
