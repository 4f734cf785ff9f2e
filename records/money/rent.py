"""What the same minutes cost rented, and from how many on it is cheaper to run one's own. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from records.money.amounts import EXACT, GRAIN, Money
from records.money.book import Book, Offer
from records.money.cost import CallCost
from records.money.layers import PLUMBING
from records.money.lines import bill

_MINUTE_S = Decimal(60)


@dataclass(frozen=True, slots=True)
class Rented:
    """One offer beside our own calls. `ours` is what we paid for the same part, plumbing with or
    without the model; `break_even` says in words from how many minutes a month it turns."""

    name: str
    per_minute: Money | None
    with_model: bool
    rented: Money | None
    ours: Money
    break_even_minutes: int | None
    break_even: str
    as_of: str
    source: str
    note: str


def rented(cost: CallCost, book: Book) -> tuple[Rented, ...]:
    """Every offer of the book."""
    return tuple(_beside(offer, cost, book) for offer in book.rented)


def _beside(offer: Offer, cost: CallCost, book: Book) -> Rented:
    lines = tuple(x for x in cost.lines if offer.with_model or x.layer in PLUMBING)
    ours = bill(lines)[1]
    minutes = EXACT.divide(cost.seconds, _MINUTE_S)
    price = offer.per_minute
    total = None if price is None else EXACT.quantize(EXACT.multiply(minutes, price), GRAIN)
    turn, words = _break_even(total, ours, minutes, book)
    if turn is not None and any(line.paid is None for line in lines):
        words += " Costs that are not known are left out of ours."
    return Rented(
        offer.name,
        price,
        offer.with_model,
        total,
        ours,
        turn,
        words,
        offer.as_of,
        offer.source,
        offer.note,
    )


def _break_even(
    total: Decimal | None, ours: Decimal, minutes: Decimal, book: Book
) -> tuple[int | None, str]:
    if total is None:
        return None, "There is no figure with a source."
    if not minutes:
        return None, "There are no minutes yet."
    if ours >= total:
        return None, "Never at these prices: a minute of ours costs as much or more."
    if book.fixed_month is None:
        return None, "Set fixed_month in the price book: what the fleet costs when nobody calls."
    saved = EXACT.divide(EXACT.subtract(total, ours), minutes)
    turn = int(EXACT.divide(book.fixed_month, saved).to_integral_value(ROUND_CEILING))
    return turn, f"From {turn:,} minutes a month on, running your own is cheaper."
