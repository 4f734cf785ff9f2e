"""Cross-origin calls from browsers (CORS, Fetch Standard §3.2).

Callers identify themselves by a bearer key and never by a cookie, so `*` gives nothing away. The
console's own files and its key are for its own origin only and get no CORS header.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

API_PREFIXES = ("/whip", "/v1/")
ANY_ORIGIN = "*"

_EXPOSED = "Location, ETag, Link, Retry-After, Accept-Patch, Accept-Post"
_METHODS = "POST, PATCH, DELETE, OPTIONS"
# The wildcard covers everything but Authorization (Fetch §4.9).
_HEADERS = "*, Authorization, Content-Type, If-Match"
_PREFLIGHT_MAX_AGE_S = 7200  # browsers cap it there


def cors(origins: Sequence[str]) -> Middleware:
    """A middleware that lets pages of `origins` (`*` for all) call the API."""

    @web.middleware
    async def add_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if request.path.startswith(API_PREFIXES):
            _allow(request, response, origins)
        return response

    return add_headers


def _allow(request: web.Request, response: web.StreamResponse, origins: Sequence[str]) -> None:
    origin = request.headers.get(hdrs.ORIGIN, "")
    if ANY_ORIGIN in origins:
        allowed = ANY_ORIGIN
    else:
        response.headers[hdrs.VARY] = hdrs.ORIGIN
        allowed = origin if origin in origins else ""
    if not origin or not allowed:
        return
    response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
    response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
    if hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = _METHODS
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = _HEADERS
        response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(_PREFLIGHT_MAX_AGE_S)
