"""What models cost, by model and kind of usage. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from records.money.amounts import EXACT, GRAIN, ZERO, measured, total, worth
from records.money.book import Book
from records.money.call_use import Report
from records.money.layers import Layer
from records.money.lines import Known, Line
from records.money.units import unit


def model_lines(report: Report, book: Book) -> Iterator[Line]:
    """One report. A backend that said what it paid is believed, and the book has the list price."""
    by_kind = tuple(_by_kind(report, book))
    if report.price is None:
        yield from by_kind
        return
    paid = EXACT.quantize(measured(report.price), GRAIN)
    has_list = bool(by_kind) and all(line.list is not None for line in by_kind)
    listed = total(line.list for line in by_kind) if has_list else paid
    what = f"{_name(report)}, as its backend paid"
    yield Line(Layer.MODEL, what, "reports", Known.REPORTED, Decimal(1), listed, paid)


def _by_kind(report: Report, book: Book) -> Iterator[Line]:
    prices = book.prices_of(report.provider, report.model)
    for kind, value in report.amounts.items():
        amount, price = measured(value), prices.get(kind)
        what = f"{_name(report)} {kind.replace('_', ' ')}"
        if price is None:
            yield Line(Layer.MODEL, what, unit(kind), Known.NO_PRICE, amount, None, None)
        else:
            listed, paid = worth(amount, price.list), worth(amount, price.paid)
            yield Line(
                Layer.MODEL, what, unit(kind), Known.MEASURED, amount, listed, paid, price.source
            )


def _name(report: Report) -> str:
    return report.model or report.provider or "a model without a name"


NO_REPORT = Line(
    Layer.MODEL, "no backend reported usage", "reports", Known.NOT_MEASURED, ZERO, None, None
)
