"""The lines of a bill, and how lines of several calls become one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum

from records.money.amounts import EXACT, Money, total
from records.money.layers import Layer


class Known(Enum):
    """How a line is known. The last two have no money, so they add nothing to the bill."""

    MEASURED = "measured"  # the record has the amount, the book the price
    REPORTED = "reported"  # the backend said what it paid
    ESTIMATED = "estimated"  # the amount comes from a figure that the operator measured once
    NO_PRICE = "no_price"  # the record has the amount, the book no price
    NOT_MEASURED = "not_measured"  # nobody measures it


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of cost: `amount` units at the book's price, by list and as we pay."""

    layer: Layer
    what: str
    unit: str
    known: Known
    amount: Money
    list: Money | None
    paid: Money | None
    source: str = ""

    @property
    def key(self) -> tuple[Layer, str, str, Known, str]:
        """Lines with one key are the same kind of cost."""
        return self.layer, self.what, self.unit, self.known, self.source

    def plus(self, other: Line) -> Line:
        """Both together."""
        return replace(
            self,
            amount=EXACT.add(self.amount, other.amount),
            list=_sum(self.list, other.list),
            paid=_sum(self.paid, other.paid),
        )


def joined(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Each kind of cost once, layer by layer, in the order in which they came."""
    found: dict[tuple[Layer, str, str, Known, str], Line] = {}
    for line in lines:
        known = found.get(line.key)
        found[line.key] = known.plus(line) if known else line
    order = list(Layer)
    return tuple(sorted(found.values(), key=lambda line: order.index(line.layer)))


def bill(lines: Iterable[Line]) -> tuple[Decimal, Decimal]:
    """The sum by list, and of what is paid."""
    kept = tuple(lines)
    return total(line.list for line in kept), total(line.paid for line in kept)


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else EXACT.add(one, other)
