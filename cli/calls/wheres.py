"""Filters as people type them, as the query of the API. Pure.

v2v_p95>1s   model=gpt-realtime-2.1   since: 2h, 30m, 1d, or a time
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from cli.reach import CliError

_SLOWER = re.compile(r"v2v_p95(?:_ms)?\s*>\s*([0-9.]+)\s*(ms|s)?")
_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def where(text: str) -> tuple[str, str]:
    """One `--where`. Raises CliError; whether the name is known is for the server to say."""
    slower = _SLOWER.fullmatch(text.strip())
    if slower:
        amount, unit = slower.groups()
        try:
            return f"v2v_p95_ms>{float(amount) * (1000 if unit == 's' else 1):g}", ""
        except ValueError:
            raise CliError(f"--where: {amount} is not a number") from None
    name, equals, value = text.partition("=")
    if not name.strip() or not equals or not value.strip():
        raise CliError("--where: write NAME=VALUE, or v2v_p95>800ms")
    return name.strip(), value.strip()


def moment(text: str, now: datetime) -> str:
    """`2h` before now, or a time as it is. Raises CliError."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).isoformat()
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise CliError(f"{text[:40]} is no time: 2h, 30m, or 2026-11-29T02:00:00Z") from None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).isoformat()
