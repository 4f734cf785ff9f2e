"""What the plumbing of one call cost, line by line. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from records.money.amounts import EXACT, ZERO, measured, worth
from records.money.book import Book
from records.money.call_use import CallUse
from records.money.layers import Layer
from records.money.lines import Known, Line
from records.money.units import PLUMBING

_MINUTE_S = Decimal(60)
_MS = Decimal(1000)


def plumbing_lines(use: CallUse, book: Book) -> Iterator[Line]:
    """Every kind of cost that a call has, also those that are not known."""
    line = _Priced(book)
    minutes = EXACT.divide(measured(use.lasted_s), _MINUTE_S)
    relay = _times(minutes, book.measured.get("relay_core_ms_per_call_minute"))
    recorder = _times(Decimal(use.events), book.measured.get("recorder_core_ms_per_event"))
    months = book.measured.get("storage_months")
    stored = None if months is None else EXACT.multiply(measured(use.record_bytes), months)
    crossed = use.cross_region_bytes
    yield line(Layer.TRANSPORT, "transceiver", "core_hour", measured(use.cpu_s))
    yield line(Layer.TRANSPORT, "relay", "core_hour", relay, Known.ESTIMATED)
    yield line(Layer.TRANSPORT, "to the caller", "egress_gigabyte", measured(use.bytes_to_caller))
    came = measured(use.bytes_from_caller)
    yield line(Layer.TRANSPORT, "from the caller", "ingress_gigabyte", came)
    yield line(Layer.SCALING, "place in Redis", "redis_call_hour", measured(use.lasted_s))
    yield line(
        Layer.SCALING,
        "between regions",
        "cross_region_gigabyte",
        None if crossed is None else measured(crossed),
    )
    yield line(Layer.OBSERVABILITY, "recorder", "core_hour", recorder, Known.ESTIMATED)
    yield line(Layer.OBSERVABILITY, "record, stored", "storage_gigabyte_month", stored)


class _Priced:
    def __init__(self, book: Book) -> None:
        self._book = book

    def __call__(
        self,
        layer: Layer,
        what: str,
        price: str,
        amount: Decimal | None,
        known: Known = Known.MEASURED,
    ) -> Line:
        _, unit = PLUMBING[price]
        found = self._book.plumbing.get(price)
        if amount is None:
            return Line(layer, what, unit, Known.NOT_MEASURED, ZERO, None, None)
        if found is None:
            return Line(layer, what, unit, Known.NO_PRICE, amount, None, None)
        listed, paid = worth(amount, found.list), worth(amount, found.paid)
        return Line(layer, what, unit, known, amount, listed, paid, found.source)


def _times(amount: Decimal, core_ms: Decimal | None) -> Decimal | None:
    return None if core_ms is None else EXACT.divide(EXACT.multiply(amount, core_ms), _MS)
