"""A served record for tests: a store with calls in it, the application on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from fleet.admin.access import AdminAccess, AdminToken
from fleet.api_key import ApiKey
from records.api.access import Access
from records.api.app import make_app
from records.api.pages import PageFiles, page_files
from records.api.reader import Reader
from records.store.store import Store

OPERATOR, VIEWER = "operator-token-1234", "viewer-token-123456"
KEY = "acme-key"
TOKENS = (
    AdminToken.parse(f"operator:olga:{OPERATOR}"),
    AdminToken.parse(f"viewer:viktor:{VIEWER}"),
)


@dataclass
class Served:
    """The API of one store, and somebody who asks it."""

    url: str
    session: ClientSession

    async def get(self, path: str, token: str = OPERATOR, **headers: str) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        async with self.session.get(
            f"{self.url}{path}", headers={**_bearer(token), **headers}
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def delete(self, path: str, token: str = OPERATOR) -> int:
        """The status."""
        async with self.session.delete(f"{self.url}{path}", headers=_bearer(token)) as answer:
            return answer.status

    async def file(self, path: str, token: str = OPERATOR) -> tuple[bytes, dict[str, str]]:
        """A body and its headers."""
        async with self.session.get(f"{self.url}{path}", headers=_bearer(token)) as answer:
            answer.raise_for_status()
            return await answer.read(), dict(answer.headers)


@asynccontextmanager
async def serving(store: Store, tokens: Sequence[AdminToken] = TOKENS) -> AsyncIterator[Served]:
    """The application of a store."""
    reader = Reader(store)
    access = Access(AdminAccess(tokens), [ApiKey.parse(f"acme:{KEY}")])
    server = TestServer(make_app(reader, access, "0", PageFiles(page_files())))
    await server.start_server()
    try:
        async with ClientSession() as session:
            yield Served(str(server.make_url("")).rstrip("/"), session)
    finally:
        await server.close()
        reader.close()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
