"""The sums add up to the bill: by line, layer, call, day, key and prompt version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from records.api.answers import adapter
from records.money.amounts import GRAIN
from records.money.book import Book, Offer, Price
from records.money.call_use import Answer, CallUse, Report
from records.money.cost import bill_of, cost_of
from records.money.tax import By, tax
from records.money.time_lines import time_spent
from records.money.units import MEASURED, PLUMBING, kind_words

PRICES = st.decimals(0, 10**6, allow_nan=False, allow_infinity=False, places=9)
FIGURES = st.floats(0, 1e9, allow_nan=False)
ANYTHING = st.floats(allow_nan=True, allow_infinity=True)
MS = st.none() | ANYTHING
KINDS = st.sampled_from(kind_words())
MODELS = st.sampled_from(["m-1", "m-1-2026-01-02", "nobody"])
PRICE = st.builds(Price, PRICES, PRICES)
BOOKS = st.builds(
    Book,
    st.just("USD"),
    st.fixed_dictionaries({("p", "m-1"): st.dictionaries(KINDS, PRICE)}),
    st.dictionaries(st.sampled_from(list(PLUMBING)), PRICE),
    st.dictionaries(st.sampled_from(MEASURED), PRICES),
    st.just((Offer("rent", Decimal("0.05"), True, "2026-11-29", "here", ""),)),
    st.none() | PRICES,
)
REPORTS = st.builds(
    Report,
    st.just("p"),
    MODELS,
    st.dictionaries(KINDS, FIGURES | ANYTHING, max_size=4),
    st.none() | ANYTHING,
)
ANSWERS = st.builds(Answer, ANYTHING, MS, MS, MS)
USES = st.builds(
    CallUse,
    st.just("c"),
    FIGURES,
    FIGURES,
    st.integers(0, 10**13),
    st.integers(0, 10**13),
    st.none() | st.integers(0, 10**13),
    st.integers(0, 10**13),
    st.integers(0, 10**6),
    st.lists(REPORTS, max_size=4).map(tuple),
    st.lists(ANSWERS, max_size=4).map(tuple),
    st.lists(ANYTHING, max_size=3).map(tuple),
    st.sampled_from(["2026-11-28", "2026-11-29"]),
    st.sampled_from(["k1", "k2", ""]),
    st.sampled_from(["greeter@7", "greeter@8", ""]),
)


def exact(values: Sequence[Decimal | None]) -> Fraction:
    return sum((Fraction(value) for value in values if value is not None), Fraction(0))


@settings(max_examples=150, deadline=None)
@given(st.lists(USES, max_size=6), BOOKS)
def test_every_way_of_adding_up_gives_the_bill(uses: list[CallUse], book: Book) -> None:
    """Lines, layers, calls, and the shares of each division: exactly, as fractions."""
    for by in By:
        report = tax(uses, book, by)
        bill = report.bill
        for name in ("list", "paid"):
            whole = Fraction(getattr(bill, name))
            assert whole == exact([getattr(line, name) for line in bill.lines])
            assert whole == exact([getattr(layer, name) for layer in bill.layers])
            assert whole == exact([getattr(share, name) for share in report.shares])
            alone = [bill_of(cost_of(use, book), "USD") for use in uses]
            assert whole == exact([getattr(one, name) for one in alone])
        halves = [half for share in report.shares for half in (share.plumbing, share.model)]
        assert Fraction(bill.paid) == exact(halves)
        told = json.loads(adapter(type(report)).dump_json(report))["bill"]
        layers = sum((Fraction(one["paid"]) for one in told["layers"]), Fraction(0))
        assert layers == Fraction(told["paid"]) == Fraction(bill.paid)
        assert sum(share.calls for share in report.shares) == len(uses)


@settings(max_examples=150, deadline=None)
@given(USES, BOOKS)
def test_the_bill_is_amount_times_price(use: CallUse, book: Book) -> None:
    """Each line that has money is its amount at the book's price, to half a grain; and a line
    without money says why."""
    for line in cost_of(use, book).lines:
        if line.paid is None:
            assert line.known.value in ("no_price", "not_measured")
    transceiver = next(x for x in cost_of(use, book).lines if x.what == "transceiver")
    price = book.plumbing.get("core_hour")
    if price is not None and transceiver.paid is not None:
        # A float has a shortest decimal, which is what counts.
        wanted = Fraction(repr(use.cpu_s)) * Fraction(price.paid)
        assert abs(Fraction(transceiver.paid) - wanted) <= Fraction(GRAIN) / 2


@settings(max_examples=200, deadline=None)
@given(st.lists(ANSWERS, max_size=8), st.lists(ANYTHING, max_size=4))
def test_the_time_of_layers_is_the_time_of_answers(
    answers: list[Answer], gaps: list[float]
) -> None:
    """To the microsecond, and no part is negative."""
    spent = time_spent(answers, gaps)
    parts = (spent.transport, spent.latency, spent.model, spent.unexplained)
    assert sum(parts) == spent.whole
    assert min(*parts, spent.silence) >= 0
    assert spent.answers == len(answers)
