"""Lines of one kind have a rate, and what is left out is counted."""

from __future__ import annotations

from fleet.log_rate import MAX_KINDS, LogRate


def rate(now: list[float]) -> LogRate:
    return LogRate(per_s=10, at_once=20, now=lambda: now[0])


def test_a_flood_is_cut_to_its_rate_and_counted() -> None:
    """Twenty at once, ten a second; the next line says how many are missing."""
    now = [0.0]
    lines = rate(now)
    assert [lines.take("a") for _ in range(25)] == [0] * 20 + [None] * 5
    now[0] += 0.1
    assert [lines.take("a"), lines.take("a")] == [5, None]
    now[0] += 3600
    assert [lines.take("a") for _ in range(21)] == [1] + [0] * 19 + [None]
    assert lines.suppressed == 7


def test_kinds_do_not_take_from_each_other() -> None:
    """A flood of one hides none of another."""
    lines = rate([0.0])
    for _ in range(100):
        lines.take("flood")
    assert lines.take("other") == 0


def test_a_traceback_counts_ten_lines() -> None:
    """It is long, and formatting it costs."""
    lines = rate([0.0])
    assert [lines.take("a", traceback=True) for _ in range(3)] == [0, 0, None]


def test_kinds_are_bounded() -> None:
    """Names that somebody else chooses cannot fill the memory."""
    lines = rate([0.0])
    for number in range(5 * MAX_KINDS):
        lines.take(str(number))
    assert len(lines._buckets) == MAX_KINDS
