"""Reads JSON from outside at a bounded cost: depth, length of numbers, number of values.

A text of 256 KiB may hold 87,000 empty lists, which take a tenth of a second to make; a session
with a hundred tools has some thousand values. The parser itself bounds the depth, at 200.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json

MAX_VALUES = 16_384
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def read_json(text: str) -> Any:
    """What a JSON text says. Raises ValueError: no JSON, NaN in it, more than MAX_VALUES values."""
    if _separators(text) > MAX_VALUES and _separators(_STRING.sub("", text)) > MAX_VALUES:
        raise ValueError(f"a JSON text may have {MAX_VALUES} values")
    return from_json(text, allow_inf_nan=False)


def _separators(text: str) -> int:
    """One stands before each value but the first."""
    return text.count(",") + text.count("[") + text.count("{")
