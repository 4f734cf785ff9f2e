"""The handlers of `/v1/calls`: they read the request and name the question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from records.api import questions
from records.api.access import ASKER
from records.api.answers import answer
from records.api.cursors import read_place
from records.api.filters import read_filter
from records.api.problem import Problem
from records.api.questions import EventsWanted, Wanted
from records.api.reader import Reader
from records.api.views import Me
from records.export.formats import FORMATS
from records.store.database import Connection

MAX_EVENTS = 1000
_DIGITS = 19

log = structlog.get_logger(__name__)

Of = Callable[[Connection, dict[str, Any]], Any]


class Calls:
    """The handlers."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def list(self, request: web.Request) -> web.Response:
        """`GET /v1/calls`."""
        wanted = read_filter(request.query.items(), request[ASKER].tenant)
        return answer(await self._reader.ask(questions.calls(wanted)))

    def one(self, question: Of) -> Handler:
        """`GET /v1/calls/{call_id}…`: a question about one call."""

        async def handle(request: web.Request) -> web.Response:
            return answer(await self._of(request, question))

        return handle

    async def events(self, request: web.Request) -> web.Response:
        """`GET /v1/calls/{call_id}/events`."""
        query = request.query
        wanted = EventsWanted(
            limit=_whole(query.get("limit", str(MAX_EVENTS)), "limit", 1, MAX_EVENTS),
            after=read_place(query["cursor"]) if "cursor" in query else None,
            since_us=_whole(query["since_us"], "since_us", 0) if "since_us" in query else None,
            kind=query.get("kind"),
        )
        return answer(await self._of(request, questions.events(wanted)))

    async def export(self, request: web.Request) -> web.Response:
        """`GET /v1/calls/{call_id}/export?format=…`, as a file."""
        name = request.query.get("format", "json")
        if name not in FORMATS:
            raise Problem("bad_filter", f"format is one of {', '.join(FORMATS)}.")
        chosen = FORMATS[name]
        call_id = request.match_info["call_id"]
        body = await self._of(
            request, lambda connection, row: chosen.write(questions.case(connection, row))
        )
        return web.Response(
            body=body,
            content_type=chosen.media_type,
            headers={
                "Cache-Control": "no-store",
                "Content-Disposition": f'attachment; filename="{_safe(call_id)}{chosen.suffix}"',
            },
        )

    async def erase(self, request: web.Request) -> web.Response:
        """`DELETE /v1/calls/{call_id}`: what was said is forgotten, and the chain stays whole."""
        asker, call_id = request[ASKER], request.match_info["call_id"]
        if not asker.may_erase:
            raise Problem("not_for_viewers", "Erasing needs the role operator.")
        await self._reader.ask(Wanted(call_id, asker.tenant).row)
        await self._reader.erase(call_id)
        log.info("content_erased", call_id=call_id, operator=asker.name)
        return web.Response(status=204)

    async def me(self, request: web.Request) -> web.Response:
        """`GET /v1/me`."""
        asker = request[ASKER]
        return answer(Me(asker.name, asker.role, asker.tenant, asker.may_erase))

    async def _of(self, request: web.Request, question: Of) -> Any:
        wanted = Wanted(request.match_info["call_id"], request[ASKER].tenant)
        return await self._reader.ask(
            lambda connection: question(connection, wanted.row(connection))
        )


def _whole(text: str, name: str, low: int, high: int = 2**63 - 1) -> int:
    digits = text.isascii() and text.isdigit() and len(text) <= _DIGITS
    if not digits or not low <= int(text) <= high:
        raise Problem("bad_filter", f"{name} is a whole number from {low} to {high}.")
    return int(text)


def _safe(call_id: str) -> str:
    return "".join(letter for letter in call_id if letter.isalnum() or letter in "-_.")[:100]
