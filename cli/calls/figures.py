"""Values of the API as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

NONE = "–"  # noqa: RUF001 - what is not known


def day_and_time(us: int | None) -> str:
    """`2026-11-29 02:14:07` in UTC."""
    return NONE if us is None else _moment(us).strftime("%Y-%m-%d %H:%M:%S")


def clock(us: int) -> str:
    """`02:14:07.250` in UTC."""
    return _moment(us).strftime("%H:%M:%S.%f")[:-3]


def lasted(seconds: float | None) -> str:
    """`1:02:03` or `2:03`."""
    if seconds is None:
        return NONE
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def ms(value: float | None) -> str:
    """`1,250`; one digit more below ten."""
    if value is None:
        return NONE
    return f"{value:.1f}" if 0 < abs(value) < 10 else f"{value:,.0f}"


def share(value: float | None) -> str:
    """`1.2 %`."""
    return NONE if value is None else f"{100 * value:.1f} %"


def plain(value: Any) -> str:
    """A value of an event's body, on one line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ",".join(map(plain, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={plain(one)}" for name, one in value.items())
    return str(value).replace("\n", " ")


def cut(text: str | None, width: int) -> str:
    """A text that fits, on one line."""
    line = " ".join((text or NONE).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1_000_000, UTC)
