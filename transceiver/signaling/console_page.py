"""The console page, for development: whoever can open it can place calls.

It is off unless asked for. Its `config.json` hands the first API key to the page, so it answers
only under host names that another site cannot point here (DNS rebinding), and without CORS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import PurePath

from aiohttp import web

from fleet.host_header import is_unspoofable
from transceiver.link.backends import ShownBackend
from transceiver.signaling.problem import Problem
from transceiver.signaling.realtime_calls import CALLS_PATH

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/vnd.microsoft.icon",
    ".webmanifest": "application/manifest+json",
}
_TEXT_TYPES = ("text/", "image/svg+xml", "application/manifest+json")
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "media-src 'self' blob: mediastream:; connect-src 'self'; manifest-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def console_files() -> dict[str, bytes]:
    """The files of the `console` package that a browser may have, by name."""
    entries = resources.files("console").iterdir()
    return {e.name: e.read_bytes() for e in entries if PurePath(e.name).suffix in _TYPES}


class ConsolePage:
    """Serves the page at `/` and what it needs to place calls."""

    def __init__(
        self,
        api_key: str,
        version: str,
        backends: Callable[[], Sequence[ShownBackend]],
        files: Mapping[str, bytes],
    ) -> None:
        self._api_key = api_key
        self._version = version
        self._backends = backends
        self._files = files

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live: a fixed list of files, so a path can lead nowhere else."""
        files = [web.get(f"/console/{name}", self.serve_file) for name in self._files]
        index = [web.get("/", self.serve_file)] if "index.html" in self._files else []
        return [*index, *files, web.get("/console/config.json", self.config)]

    async def serve_file(self, request: web.Request) -> web.Response:
        """One of the page's files."""
        name = request.path.rpartition("/")[2] or "index.html"
        media_type = _TYPES[PurePath(name).suffix]
        charset = "utf-8" if media_type.startswith(_TEXT_TYPES) else None
        return web.Response(
            body=self._files[name], content_type=media_type, charset=charset, headers=_PAGE_HEADERS
        )

    async def config(self, request: web.Request) -> web.Response:
        """What the page needs to know, the API key among it. Raises Problem forbidden_host."""
        if not is_unspoofable(request.headers.get("Host", "")):
            detail = "Open it by IP address or as localhost."
            raise Problem("forbidden_host", detail)
        members = {
            "key": self._api_key,
            "calls_url": CALLS_PATH,
            "version": self._version,
            "backends": [asdict(backend) for backend in self._backends()],
        }
        return web.json_response(members, headers={"Cache-Control": "no-store"})
