"""What the worst inputs cost each parser, at the largest size and at half of it.

Instructions of the interpreter are counted, and the same input costs the same each time. What
happens inside C (JSON, regular expressions, texts) is seen by CPU time alone, and so by a ratio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.fuzz.row import Reader, Row
from tests.fuzz.rows import ROWS
from tests.fuzz.work import cpu_s, steps

Measure = Callable[[Reader, bytes, tuple[type[BaseException], ...]], float]

LINEAR = 3.0
"""Linear work gives a ratio of 2, work with the square of the length one of 4."""
SMALL_STEPS, SMALL_S = 2_000, 0.002
"""Below this a ratio is noise, and nobody is held up."""
ATTEMPTS = 4


def costs(row: Row, size: int, measure: Measure) -> list[float]:
    """What each worst shape of the size costs, each on a fresh reader."""

    async def of(data: bytes) -> float:
        async with row.open() as reader:
            return measure(reader, data, row.refusals)

    async def of_all() -> list[float]:
        return [await of(data) for data in row.worst(size)]

    return asyncio.run(of_all())


def growth(row: Row, measure: Measure, small: float) -> float:
    """The largest ratio between a shape's cost at the largest size and at half of it."""
    halves, wholes = costs(row, row.largest // 2, measure), costs(row, row.largest, measure)
    pairs = zip(halves, wholes, strict=False)
    return max((whole / max(half, small) for half, whole in pairs if whole > small), default=0.0)


@pytest.mark.parametrize("name", ROWS)
def test_no_input_costs_more_than_the_table_says(name: str) -> None:
    """The instructions for the worst inputs of the largest size stay below the row's bound."""
    row = ROWS[name]
    worst = max(costs(row, row.largest, steps))
    assert worst <= row.steps
    assert row.steps <= 20 * max(worst, 500), "the bound says nothing"


@pytest.mark.parametrize("name", ROWS)
def test_instructions_grow_with_the_length(name: str) -> None:
    """Twice the length costs twice the instructions at most, for each worst shape."""
    assert growth(ROWS[name], steps, SMALL_STEPS) < LINEAR


@pytest.mark.parametrize("name", ROWS)
def test_cpu_time_grows_with_the_length(name: str) -> None:
    """So does what runs outside the interpreter. A neighbour on the machine cannot fail it: what is
    linear shows a ratio of two in one attempt of a few."""
    row = ROWS[name]
    assert any(growth(row, cpu_s, SMALL_S) < LINEAR for _ in range(ATTEMPTS))
