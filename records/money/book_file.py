"""A price book as a file: the one that comes with Trunkline, and an operator's over it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib import resources
from pathlib import Path

from records.money.book import Book, Offer, Price
from records.money.places import BookError, Place, read
from records.money.units import MEASURED, PLUMBING, kind_words, per

_TOP = ("currency", "models", "plumbing", "measured", "rented", "fixed_month")
_MODEL = ("provider", "model", "source", "as_of", "prices")
_PRICE = ("list", "paid", "source", "as_of")
_OFFER = ("name", "per_minute", "with_model", "as_of", "source", "note")


@cache
def default_book() -> Book:
    """The dated prices that come with Trunkline."""
    book = Book("")
    for name in ("genai_prices.yaml", "default.yaml"):
        book = parse((resources.files("records.money") / name).read_text(), book)
    return book


def load_book(path: Path | None) -> Book:
    """The default, with an operator's file over it. Raises BookError with the place in the file."""
    if path is None:
        return default_book()
    try:
        return parse(path.read_text(), default_book())
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None)
        raise BookError(f"{path}: {why.lower() if why else 'it is no text in UTF-8'}") from None
    except BookError as error:
        raise BookError(f"{path}: {error}") from None


def parse(text: str, under: Book) -> Book:
    """The book of a document; what it does not name comes from `under`. Raises BookError."""
    root = read(text)
    top = root.members(_TOP)
    currency = top["currency"].text() if "currency" in top else under.currency
    if not currency:
        raise root.bad("currency is missing, such as USD")
    if under.currency not in ("", currency):  # prices in two currencies cannot be added up
        under = Book(currency)
    fixed = top.get("fixed_month")
    return Book(
        currency=currency,
        models={**under.models, **(_models(top["models"]) if "models" in top else {})},
        plumbing={**under.plumbing, **(_plumbing(top["plumbing"]) if "plumbing" in top else {})},
        measured={**under.measured, **(_measured(top["measured"]) if "measured" in top else {})},
        rented=tuple(map(_offer, top["rented"].each())) if "rented" in top else under.rented,
        fixed_month=_optional(fixed) if fixed else under.fixed_month,
    )


def _models(place: Place) -> dict[tuple[str, str], Mapping[str, Price]]:
    found: dict[tuple[str, str], Mapping[str, Price]] = {}
    for one in place.each():
        members = one.members(_MODEL)
        if "model" not in members or "prices" not in members:
            raise one.bad("a model has the keys model and prices")
        provider = members["provider"].text() if "provider" in members else ""
        key = provider.lower(), members["model"].text().lower()
        if key in found:
            raise one.bad("this model is there twice")
        source, as_of = _text(members, "source"), _text(members, "as_of")
        prices = members["prices"].members(kind_words())
        found[key] = {kind: _price(at, per(kind), source, as_of) for kind, at in prices.items()}
    return found


def _plumbing(place: Place) -> dict[str, Price]:
    prices = place.members(PLUMBING)
    return {
        name: _price(one, PLUMBING[name][0]) for name, one in prices.items() if not one.is_null()
    }


def _measured(place: Place) -> dict[str, Decimal]:
    figures = place.members(MEASURED)
    return {name: one.number() for name, one in figures.items() if not one.is_null()}


def _price(place: Place, count: Decimal, source: str = "", as_of: str = "") -> Price:
    """`4`, or `{list: 4, paid: 3.2}`: who says no other pays the list price."""
    if not place.is_mapping():
        value = place.number() / count
        return Price(value, value, source, as_of)
    members = place.members(_PRICE)
    if "list" not in members:
        raise place.bad("a price has the key list")
    listed = members["list"].number() / count
    paid = members["paid"].number() / count if "paid" in members else listed
    return Price(listed, paid, _text(members, "source") or source, _text(members, "as_of") or as_of)


def _offer(place: Place) -> Offer:
    members = place.members(_OFFER)
    missing = [name for name in ("name", "as_of", "source") if name not in members]
    if missing:
        raise place.bad(f"an offer has the key {missing[0]}")
    return Offer(
        name=members["name"].text(),
        per_minute=_optional(members["per_minute"]) if "per_minute" in members else None,
        with_model=members["with_model"].yes() if "with_model" in members else False,
        as_of=members["as_of"].text(),
        source=members["source"].text(),
        note=_text(members, "note"),
    )


def _optional(place: Place) -> Decimal | None:
    return None if place.is_null() else place.number()


def _text(members: Mapping[str, Place], name: str) -> str:
    return members[name].text() if name in members else ""
