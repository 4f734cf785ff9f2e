"""What the worst inputs cost each parser, at the largest size and at half of it.

Instructions of the interpreter are counted, and the same input costs the same each time. What
happens inside C (JSON, regular expressions, texts) is seen by CPU time alone, and so by a ratio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.fuzz.row import Reader, Row, plain
from tests.fuzz.rows import ROWS
from tests.fuzz.work import cpu_s, steps

Measure = Callable[[Reader, bytes, tuple[type[BaseException], ...]], float]

LINEAR = 3.0
"""Linear work gives a ratio of 2, work with the square of the length one of 4."""
CPU_LINEAR = 3.5
"""Of CPU time, linear work shows up to 3: twice as many objects no longer fit the caches."""
SMALL_STEPS, SMALL_S = 2_000, 0.002
"""Below this a ratio is noise, and nobody is held up."""
ATTEMPTS = 10  # others use the machine, too; work with the square of the length fails in each


def costs(row: Row, size: int, measure: Measure) -> list[float]:
    """What each worst shape of the size costs, each on a fresh reader."""

    async def of(data: bytes) -> float:
        async with row.open() as reader:
            return measure(reader, data, row.refusals)

    async def of_all() -> list[float]:
        return [await of(data) for data in row.worst(size)]

    return asyncio.run(of_all())


def growth(halves: Sequence[float], wholes: Sequence[float], small: float) -> float:
    """The largest ratio between a shape's cost at the largest size and at half of it."""
    pairs = zip(halves, wholes, strict=False)
    return max((whole / max(half, small) for half, whole in pairs if whole > small), default=0.0)


def cpu_growth(row: Row) -> float:
    """The same of CPU time, each the least of a few attempts: a neighbour on the machine, who
    takes time and caches, only adds. It looks no further once a row is linear."""

    def attempt() -> tuple[list[float], list[float]]:
        return costs(row, row.largest // 2, cpu_s), costs(row, row.largest, cpu_s)

    halves, wholes = attempt()
    for _ in range(ATTEMPTS - 1):
        if growth(halves, wholes, SMALL_S) < CPU_LINEAR:
            break
        more_halves, more_wholes = attempt()
        halves = list(map(min, halves, more_halves))
        wholes = list(map(min, wholes, more_wholes))
    return growth(halves, wholes, SMALL_S)


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
    row = ROWS[name]
    halves, wholes = costs(row, row.largest // 2, steps), costs(row, row.largest, steps)
    assert growth(halves, wholes, SMALL_STEPS) < LINEAR


@pytest.mark.parametrize("name", ROWS)
def test_cpu_time_grows_with_the_length(name: str) -> None:
    """So does what runs outside the interpreter."""
    assert cpu_growth(ROWS[name]) < CPU_LINEAR


def test_a_square_is_seen() -> None:
    """Work in C that grows with the square of the length passes in no attempt."""
    square = replace(
        ROWS["Realtime events"],
        open=plain(lambda data: [data.count(b"y", start) for start in range(0, len(data), 30)]),
        worst=lambda size: [b"x" * size],
        largest=120_000,
    )
    assert cpu_growth(square) > CPU_LINEAR
