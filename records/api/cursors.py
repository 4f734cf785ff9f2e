"""Cursors: a page ends at a place in time, so what comes meanwhile makes nothing vanish or come
twice. Pure."""

from __future__ import annotations

from typing import Any

from records.api.problem import Problem
from records.store.event_pages import Place

_MAX_US = 2**63 - 1


def write_cursor(last: dict[str, Any]) -> str:
    """The place of the last call of a page."""
    return f"{last['first_us']}.{last['call_id']}"


def read_cursor(text: str) -> tuple[int, str]:
    """The place that a cursor names. Raises Problem bad_cursor."""
    first, dot, call_id = text.partition(".")
    if not dot or not call_id:
        raise _bad()
    return _time_us(first), call_id


def write_place(place: Place) -> str:
    """The place of the last event of a page."""
    wall_us, source, number = place
    return f"{wall_us}.{number}.{source}"


def read_place(text: str) -> Place:
    """The same back. Raises Problem bad_cursor."""
    wall_us, _, rest = text.partition(".")
    number, _, source = rest.partition(".")
    if not source or len(text) > 300 or "\0" in text:
        raise _bad()
    return _time_us(wall_us), source, _time_us(number)


def _time_us(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
        raise _bad()
    if abs(int(text)) > _MAX_US:
        raise _bad()
    return int(text)


def _bad() -> Problem:
    return Problem("bad_cursor", "Take the cursor of the page before, as it is.")
