"""How the command line reaches the API of the record; every method raises CliError."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector

from cli.reach import CliError

ANSWER_TIMEOUT_S = 30.0
MAX_PAGES = 200  # of events: more than a call may have

Query = Sequence[tuple[str, str]]
Json = Mapping[str, Any]


@dataclass(frozen=True)
class RecordReach:
    """Where the API is and what opens it."""

    url: str
    token: str = field(default="", repr=False)
    ca: Path | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Record]:
        """The API."""
        trusted = ssl.create_default_context(cafile=self.ca) if self.ca else True
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with ClientSession(
            headers=headers,
            timeout=ClientTimeout(total=ANSWER_TIMEOUT_S),
            connector=TCPConnector(ssl=trusted),
        ) as session:
            yield Record(self.url.rstrip("/"), session)


class Record:
    """The API of the record."""

    def __init__(self, url: str, session: ClientSession) -> None:
        self._url = url
        self._session = session

    async def calls(self, query: Query) -> Json:
        """One page of calls."""
        return await self._json("/v1/calls", query)

    async def call(self, call_id: str) -> Json:
        """One call with its story."""
        return await self._json(_path(call_id))

    async def events(self, call_id: str, query: Query = ()) -> list[Json]:
        """All events of a call, page by page."""
        found: list[Json] = []
        cursor: Query = ()
        for _ in range(MAX_PAGES):
            page = await self._json(_path(call_id, "/events"), [*query, *cursor])
            found += page["events"]
            if page["next_cursor"] is None:
                break
            cursor = [("cursor", page["next_cursor"])]
        return found

    async def tax(self, query: Query) -> Json:
        """What calls cost by layer."""
        return await self._json("/v1/tax", query)

    async def verify(self, call_id: str) -> Json:
        """Whether the record of a call is whole."""
        return await self._json(_path(call_id, "/verify"))

    async def export(self, call_id: str, form: str) -> bytes:
        """A call as a file."""
        async with self._asked("GET", _path(call_id, "/export"), [("format", form)]) as answer:
            return await answer.read()

    async def erase(self, call_id: str) -> None:
        """Forget what was said in a call."""
        async with self._asked("DELETE", _path(call_id)):
            pass

    async def _json(self, path: str, query: Query = ()) -> Json:
        async with self._asked("GET", path, query) as answer:
            told: Json = await answer.json()
            return told

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, query: Query = ()
    ) -> AsyncIterator[ClientResponse]:
        try:
            async with self._session.request(
                method, f"{self._url}{path}", params=list(query)
            ) as answer:
                if not answer.ok:
                    raise CliError(f"{self._url}: {await _refusal(answer)}")
                yield answer
        except TimeoutError:
            raise CliError(f"{self._url}: did not answer within {ANSWER_TIMEOUT_S:g} s") from None
        except (ClientError, OSError, ValueError) as error:
            cure = "is `python -m records.api` up, is TRUNKLINE_RECORDS_URL right?"
            raise CliError(f"{self._url}: {type(error).__name__}; {cure}") from None


async def _refusal(answer: ClientResponse) -> str:
    """A problem in the words of the server."""
    try:
        problem = await answer.json(content_type=None)
        return f"{problem['title']}. {problem['detail']}"
    except (ValueError, TypeError, KeyError):
        return f"status {answer.status}; is this the API of the record?"


def _path(call_id: str, rest: str = "") -> str:
    return f"/v1/calls/{quote(call_id, safe='')}{rest}"
