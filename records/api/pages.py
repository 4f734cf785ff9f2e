"""The pages: a fixed list of files of the package `records.pages`, so a path can lead nowhere else.

They hold nothing of any call. What they show they ask of the API, with the token of who looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import PurePath

from aiohttp import web

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
INDEX = "index.html"


def page_files() -> dict[str, bytes]:
    """The files that a browser may have, by name."""
    entries = resources.files("records.pages").iterdir()
    return {one.name: one.read_bytes() for one in entries if PurePath(one.name).suffix in _TYPES}


class PageFiles:
    """Serves `/`, `/calls/{id}` (the same page) and the files that it needs."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def routes(self) -> list[web.RouteDef]:
        """None without files."""
        named = [web.get(f"/records/{name}", self.serve) for name in self._files]
        pages = [web.get("/", self.serve), web.get("/tax", self.index)]
        pages.append(web.get("/calls/{call_id}", self.index))
        return [*named, *(pages if INDEX in self._files else [])]

    async def serve(self, request: web.Request) -> web.Response:
        """One of the files."""
        return self._file(request.path.rpartition("/")[2] or INDEX)

    async def index(self, _request: web.Request) -> web.Response:
        """The page, whichever call it is to show."""
        return self._file(INDEX)

    def _file(self, name: str) -> web.Response:
        media_type = _TYPES[PurePath(name).suffix]
        return web.Response(
            body=self._files[name], content_type=media_type, charset="utf-8", headers=HEADERS
        )
