"""Reads request bodies: bounded in size and time, always UTF-8."""

from __future__ import annotations

import asyncio

from aiohttp import web

from transceiver.signaling.media_type import media_type
from transceiver.signaling.problem import Problem

BODY = web.RequestKey("body", bytes)  # of a request whose body was read already


async def read_body(request: web.Request, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body.

    Raises Problem: too_large as soon as that is known, without reading on; request_timeout when it
    has not arrived after `timeout_s`; wrong_content_type when it is compressed; bad_request when
    its chunks are broken.
    """
    if BODY in request:
        return request[BODY]
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem("wrong_content_type", "Send the body without Content-Encoding.")
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(request, max_bytes)
    except TimeoutError:
        detail = f"The body must arrive within {timeout_s:g} seconds."
        raise Problem("request_timeout", detail, ends_connection=True) from None
    except web.RequestPayloadError:
        raise Problem("bad_request", "The body's transfer coding is broken.") from None


async def _read(request: web.Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> Problem:
    detail = f"The body may have {max_bytes} bytes."
    return Problem("too_large", detail, ends_connection=True)


def as_text(body: bytes, code: str) -> str:
    """The body as UTF-8. Raises Problem with `code`."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(code, "The body is not UTF-8.") from None


def require_type(request: web.Request, *allowed: str) -> str:
    """The request's media type. Raises Problem wrong_content_type unless it is one of `allowed`."""
    given = media_type(request.headers.get("Content-Type", ""))
    if given in allowed:
        return given
    name = "Accept-Patch" if request.method == "PATCH" else "Accept-Post"
    detail = f"The body must be {' or '.join(allowed)}."
    raise Problem("wrong_content_type", detail, {name: ", ".join(allowed)})
