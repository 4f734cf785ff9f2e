"""The query of `GET /v1/calls` as a filter of the store. Pure.

    since=2026-11-29T02:00:00Z   until=…   model=…   key=…   tenant=…   backend=…   end_reason=…
    prompt=greeter@7   state=live   text=parcel   v2v_p95_ms>800   cursor=…   limit=50

`v2v_p95_ms>800` is a comparison, so it stands in the query without an equals sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from records.api.cursors import read_cursor
from records.api.problem import Problem
from records.store.reading import CallFilter

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_TEXT_CHARS = 200
SLOWER = "v2v_p95_ms>"

Members = dict[str, Any]


def read_filter(query: Iterable[tuple[str, str]], tenant: str | None) -> CallFilter:
    """The filter of a query, in which `tenant` counts if it is set. Raises Problem bad_filter."""
    members: Members = {"limit": DEFAULT_LIMIT}
    for name, value in query:
        if name.startswith(SLOWER):
            members |= _slower(name.removeprefix(SLOWER) or value)
        elif name in _READERS:
            members |= _READERS[name](_short(name, value))
        else:
            known = ", ".join([*_READERS, f"{SLOWER}MS"])
            raise Problem("bad_filter", f"{name[:40]} is not one of {known}.")
    if tenant is not None:
        members["tenant"] = tenant
    return CallFilter(**members)


def _short(name: str, value: str) -> str:
    if not value or len(value) > MAX_TEXT_CHARS or "\0" in value:
        raise Problem("bad_filter", f"{name} has 1 to {MAX_TEXT_CHARS} characters.")
    return value


def _slower(text: str) -> Members:
    return {"v2v_p95_ms_above": _number(SLOWER.rstrip(">"), text)}


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Problem("bad_filter", f"{name} is compared with a number.")
    return value


def _time(name: str) -> Callable[[str], Members]:
    return lambda value: {f"{name}_us": time_us(name, value)}


def time_us(name: str, value: str) -> int:
    """A time of a query as Unix µs; without a zone it is UTC. Raises Problem bad_filter."""
    try:
        moment = datetime.fromisoformat(value)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int(aware.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        detail = f"{name} is a time such as 2026-11-29T02:00:00Z."
        raise Problem("bad_filter", detail) from None


def _limit(value: str) -> Members:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= MAX_LIMIT):
        raise Problem("bad_filter", f"limit is 1 to {MAX_LIMIT}.")
    return {"limit": int(value)}


def _state(value: str) -> Members:
    if value not in ("live", "ended"):
        raise Problem("bad_filter", "state is live or ended.")
    return {"live": value == "live"}


def _prompt(value: str) -> Members:
    prompt_id, at, version = value.rpartition("@")
    return {"prompt_id": prompt_id, "prompt_version": version} if at else {"prompt_id": value}


def _same(name: str) -> Callable[[str], Members]:
    return lambda value: {name: value}


_READERS: dict[str, Callable[[str], Members]] = {
    "since": _time("since"),
    "until": _time("until"),
    "tenant": _same("tenant"),
    "key": _same("key_id"),
    "model": _same("model"),
    "backend": _same("backend"),
    "end_reason": _same("end_reason"),
    "prompt": _prompt,
    "prompt_version": _same("prompt_version"),
    "state": _state,
    "text": _same("text"),
    "limit": _limit,
    "cursor": lambda value: {"before": read_cursor(value)},
}
FILTERS = (*_READERS, SLOWER)
