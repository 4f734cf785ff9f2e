"""The Plumbing Tax: what many calls cost, in all and by day, key or prompt version. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from records.money.amounts import EXACT, Money
from records.money.book import Book
from records.money.call_use import CallUse
from records.money.cost import Bill, CallCost, bill_of, cost_of, together
from records.money.layers import PLUMBING
from records.money.lines import bill
from records.money.rent import Rented, rented


class By(Enum):
    """What a report is divided by."""

    DAY = "day"
    KEY = "key"
    PROMPT = "prompt"


@dataclass(frozen=True, slots=True)
class Share:
    """One day, key or prompt version; shares add up to the bill."""

    name: str
    calls: int
    minutes: float
    list: Money
    paid: Money
    plumbing: Money
    model: Money


@dataclass(frozen=True, slots=True)
class TaxReport:
    """Of `calls` calls, the newest first; `more` is set when older ones did not fit into it."""

    calls: int
    more: bool
    by: By
    bill: Bill
    shares: tuple[Share, ...]
    rented: tuple[Rented, ...]


def tax(uses: Iterable[CallUse], book: Book, by: By = By.DAY, *, more: bool = False) -> TaxReport:
    """The report of these calls."""
    groups: dict[str, list[CallCost]] = {}
    for use in uses:
        groups.setdefault(getattr(use, by.value), []).append(cost_of(use, book))
    sums = {name: together(costs) for name, costs in groups.items()}
    whole = together(sums.values())
    return TaxReport(
        calls=sum(map(len, groups.values())),
        more=more,
        by=by,
        bill=bill_of(whole, book.currency),
        shares=tuple(_share(name, len(groups[name]), sums[name]) for name in sorted(sums)),
        rented=rented(whole, book),
    )


def _share(name: str, calls: int, cost: CallCost) -> Share:
    listed, paid = bill(cost.lines)
    plumbing = bill(line for line in cost.lines if line.layer in PLUMBING)[1]
    return Share(
        name,
        calls,
        round(float(cost.seconds) / 60, 6),
        listed,
        paid,
        plumbing,
        EXACT.subtract(paid, plumbing),
    )
