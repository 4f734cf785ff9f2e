"""Questions about money: what a call cost, and the Plumbing Tax of many calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from records.api.access import ASKER
from records.api.answers import answer
from records.api.filters import read_filter, time_us
from records.api.problem import Problem
from records.api.questions import Wanted, cost
from records.api.reader import Reader
from records.api.views import Cost
from records.money.book import Book
from records.money.cost import bill_of, cost_of
from records.money.reading import MAX_CALLS, rows_of, uses
from records.money.tax import By, TaxReport, tax
from records.store.database import Connection
from records.store.reading import CallFilter

TAX_FILTERS = ("from", "to", "key", "prompt", "tenant", "model", "call", "by")
_TIMES = ("from", "to")
_DIRECT = {"call", "by"}


class MoneyCalls:
    """The handlers; `book` has the prices."""

    def __init__(self, reader: Reader, book: Book) -> None:
        self._reader = reader
        self._book = book

    async def cost(self, request: web.Request) -> web.Response:
        """`GET /v1/calls/{call_id}/cost`. Prices are the operator's: a key sees usage only."""
        asker = request[ASKER]
        wanted = Wanted(request.match_info["call_id"], asker.tenant)

        def ask(connection: Connection) -> Cost:
            row = wanted.row(connection)
            found = cost(connection, row)
            if asker.tenant is not None:
                return found
            (use,) = uses(connection, [row])
            return replace(found, bill=bill_of(cost_of(use, self._book), self._book.currency))

        return answer(await self._reader.ask(ask))

    async def tax(self, request: web.Request) -> web.Response:
        """`GET /v1/tax`."""
        if request[ASKER].tenant is not None:
            raise Problem("not_for_keys", "What calls cost is for operators and viewers.")
        query = _query(request)
        by, call_id = _by(query.get("by", By.DAY.value)), query.get("call")
        wanted = _filter(query)
        return answer(
            await self._reader.ask(lambda connection: self._tax(connection, wanted, by, call_id))
        )

    def _tax(
        self, connection: Connection, wanted: CallFilter, by: By, call_id: str | None
    ) -> TaxReport:
        if call_id is not None:
            rows = [Wanted(call_id, None).row(connection)]
        else:
            rows = rows_of(connection, wanted)
        counted = rows[:MAX_CALLS]
        return tax(uses(connection, counted), self._book, by, more=len(rows) > len(counted))


def _query(request: web.Request) -> Mapping[str, str]:
    found: dict[str, Any] = {}
    for name, value in request.query.items():
        if name not in TAX_FILTERS:
            raise Problem("bad_filter", f"{name[:40]} is not one of {', '.join(TAX_FILTERS)}.")
        if name in found:
            raise Problem("bad_filter", f"{name} is there twice.")
        found[name] = value
    if "call" in found and len(found) > len(_DIRECT & found.keys()):
        raise Problem("bad_filter", "call stands alone, or beside by.")
    return found


def _filter(query: Mapping[str, str]) -> CallFilter:
    others = [(n, v) for n, v in query.items() if n not in _DIRECT and n not in _TIMES]
    since, until = (time_us(n, query[n]) if n in query else None for n in _TIMES)
    return replace(read_filter(others, None), since_us=since, until_us=until)


def _by(text: str) -> By:
    try:
        return By(text)
    except ValueError:
        names = ", ".join(one.value for one in By)
        raise Problem("bad_filter", f"by is one of {names}.") from None
