"""The HTTP application: which path leads where, and who may go there.

ROUTES is the whole API. The OpenAPI document is made of it, so it cannot leave a path out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from records.api import questions, realtime
from records.api.access import Access
from records.api.filters import FILTERS
from records.api.handlers import Calls
from records.api.money import TAX_FILTERS, MoneyCalls
from records.api.openapi import Operation, document
from records.api.pages import PageFiles
from records.api.reader import Reader
from records.api.refusals import answer_problems
from records.api.views import (
    CallList,
    CallView,
    Cost,
    EventList,
    Me,
    MediaView,
    Transcript,
    TurnList,
)
from records.evidence.chains import Verification
from records.money.book import Book
from records.money.book_file import default_book
from records.money.tax import TaxReport

DOCUMENT_PATH = "/v1/openapi.json"
_ONE = "/v1/calls/{call_id}"
_REALTIME = "/v1/realtime/calls/{call_id}"


class Handlers(Calls):
    """Every handler of the API: those of calls, and those of money."""

    def __init__(self, reader: Reader, book: Book) -> None:
        super().__init__(reader)
        self.money = MoneyCalls(reader, book)


@dataclass(frozen=True)
class Route:
    """One operation, and what makes its handler."""

    operation: Operation
    handler: Callable[[Handlers], Handler]


def _one(path: str, summary: str, answers: type[Any], question: Any) -> Route:
    operation = Operation(hdrs.METH_GET, path, summary, answers)
    return Route(operation, lambda calls: calls.one(question))


ROUTES = (
    Route(
        Operation(hdrs.METH_GET, "/v1/calls", "Calls, the newest first", CallList, FILTERS),
        lambda calls: calls.list,
    ),
    _one(_ONE, "One call, with its story and its diagnosis", CallView, questions.view),
    Route(
        Operation(hdrs.METH_DELETE, _ONE, "Erase what was said in a call", None),
        lambda calls: calls.erase,
    ),
    Route(
        Operation(
            hdrs.METH_GET,
            f"{_ONE}/events",
            "Events in the order of time",
            EventList,
            ("limit", "cursor", "since_us", "kind"),
        ),
        lambda calls: calls.events,
    ),
    _one(f"{_ONE}/transcript", "What was said", Transcript, questions.transcript),
    _one(f"{_ONE}/turns", "Turns with their stages", TurnList, questions.turns),
    _one(f"{_ONE}/media", "Media by direction and span", MediaView, questions.media),
    Route(
        Operation(hdrs.METH_GET, f"{_ONE}/cost", "What the call used, and what it cost", Cost),
        lambda calls: calls.money.cost,
    ),
    Route(
        Operation(hdrs.METH_GET, "/v1/tax", "What calls cost by layer", TaxReport, TAX_FILTERS),
        lambda calls: calls.money.tax,
    ),
    _one(f"{_ONE}/verify", "Whether the record is whole", Verification, questions.verification),
    Route(
        Operation(
            hdrs.METH_GET, f"{_ONE}/export", "The call as a file", None, ("format",), is_file=True
        ),
        lambda calls: calls.export,
    ),
    _one(_REALTIME, "One call, for clients of OpenAI", realtime.RealtimeCall, realtime.call),
    _one(
        f"{_REALTIME}/transcript",
        "Its conversation, for clients of OpenAI",
        realtime.RealtimeTranscript,
        realtime.transcript,
    ),
    Route(Operation(hdrs.METH_GET, "/v1/me", "Who asks", Me), lambda calls: calls.me),
)


def make_app(
    reader: Reader,
    access: Access,
    version: str,
    pages: PageFiles,
    book: Book | None = None,
) -> web.Application:
    """The application, without a socket. A handler's errors become answers.

    `book` has the prices; None: those that come with Trunkline.
    """
    app = web.Application(middlewares=[answer_problems])
    calls = Handlers(reader, book or default_book())
    for route in ROUTES:
        operation = route.operation
        app.router.add_route(operation.method, operation.path, access.check(route.handler(calls)))
    written = document([route.operation for route in ROUTES], version)

    async def openapi(_request: web.Request) -> web.Response:
        return web.json_response(written)

    async def healthz(_request: web.Request) -> web.Response:
        await reader.ask(lambda connection: connection.rows("SELECT 1 AS yes"))
        return web.json_response({"status": "ready"})

    app.router.add_get(DOCUMENT_PATH, openapi)
    app.router.add_get("/healthz", healthz)
    app.add_routes(pages.routes())
    return app
