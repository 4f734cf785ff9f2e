"""Lists live calls page by page, the oldest first. Pure.

A page ends at a place in time and not at a number of calls, so that calls which end between two
pages make no other call vanish or come twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
MAX_TOKEN_CHARS = 100


class BadPage(ValueError):  # noqa: N818 - says what is wrong
    """A page size or a token that no page has. The text is the rule."""


class Dated(Protocol):
    """A call as pages order it."""

    @property
    def call_id(self) -> str:
        """Its public id."""

    @property
    def started_unix_ms(self) -> int:
        """When it began."""


AnyCall = TypeVar("AnyCall", bound=Dated)


@dataclass(frozen=True)
class Page(Generic[AnyCall]):
    """Some calls of `total`; `next_token` is empty on the last page."""

    calls: list[AnyCall]
    next_token: str
    total: int


def page_of(calls: Iterable[AnyCall], token: str, size: int) -> Page[AnyCall]:
    """The page behind `token`, "" for the first; size 0 is DEFAULT_PAGE. Raises BadPage."""
    if size > LARGEST_PAGE:
        raise BadPage(f"page_size may be at most {LARGEST_PAGE}")
    after, size = _read_token(token), size or DEFAULT_PAGE
    ordered = sorted(calls, key=_place)
    rest = [call for call in ordered if _place(call) > after]
    found = rest[:size]
    more = len(rest) > size
    return Page(found, _write_token(found[-1]) if more else "", len(ordered))


def _place(call: Dated) -> tuple[int, str]:
    return call.started_unix_ms, call.call_id


def _write_token(last: Dated) -> str:
    return f"{last.started_unix_ms}.{last.call_id}"


def _read_token(token: str) -> tuple[int, str]:
    if not token:
        return -1, ""
    started, dot, call_id = token.partition(".")
    if not dot or not started.isdecimal() or not call_id or len(token) > MAX_TOKEN_CHARS:
        raise BadPage("page_token is not a next_page_token of ListCalls")
    return int(started), call_id
