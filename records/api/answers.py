"""Dataclasses as JSON answers."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import TypeAdapter

_adapters: dict[type[Any], TypeAdapter[Any]] = {}  # one for each kind of view
NO_STORE = {"Cache-Control": "no-store"}  # it may have what was said


def answer(view: Any) -> web.Response:
    """A view as JSON; what is no number is null."""
    return web.Response(
        body=adapter(type(view)).dump_json(view),
        content_type="application/json",
        headers=NO_STORE,
    )


def adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """What writes a kind of view, and gives its schema; made once."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]
