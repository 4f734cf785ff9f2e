"""Times as people write them: 90s, 20m, 1h."""

from __future__ import annotations

import re

_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_TIME = re.compile(r"([0-9]{1,5})([smh])")


def seconds_of(text: str) -> float:
    """A time in seconds. Raises ValueError for anything else."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("a time is a whole number with s, m or h behind it")
    return float(found[1]) * _UNITS_S[found[2]]
