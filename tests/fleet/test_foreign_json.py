"""JSON from outside is read at a bounded cost."""

from __future__ import annotations

import json

import pytest

from fleet.foreign_json import MAX_VALUES, read_json


def test_as_many_values_as_fit() -> None:
    """The bound is of values, and separators inside texts are none."""
    numbers = [0] * (MAX_VALUES - 1)
    assert read_json(json.dumps(numbers)) == numbers
    text = json.dumps(["," * 2 * MAX_VALUES, '\\",[{' * MAX_VALUES])
    assert read_json(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([0] * (MAX_VALUES + 1)),
        json.dumps([[]] * MAX_VALUES),
        json.dumps(dict.fromkeys(map(str, range(MAX_VALUES + 1)), "")),
        "[" * 300,
        '{"a":NaN}',
        '"' + "\\",
        "",
    ],
)
def test_what_is_too_much_is_refused(text: str) -> None:
    """More values, more depth, no number, no end: one error."""
    with pytest.raises(ValueError, match=r"."):
        read_json(text)
