from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from loadtest.__main__ import app
from loadtest.live.tally import Tally
from loadtest.storm.verdict import Seen, Storm, judge

STORM = Storm(capacity=20, residents=10, call_s=2.0, times=10, calm_s=2, at_s=4, end_s=10)


def tallies(late_ms: float, stormy_ms: float, **numbers: int) -> list[Tally]:
    found = []
    for second in range(12):
        tally = Tally(second, live=10, **numbers)  # type: ignore[arg-type]
        tally.lateness_ms.add([stormy_ms if second >= STORM.at_s else late_ms] * 50)
        found.append(tally)
    return found


def seen(stormy_ms: float = 6.0, **changes: int) -> Seen:
    naive = {"ended": 4, "refused": 30} | changes
    started = naive.pop("started", 30)
    most = naive.pop("most", 20)
    return Seen(
        tallies(6, stormy_ms), tallies(6, 6, ended=1), tallies(1, 1, **naive), started, most
    )


def failed(one: Seen) -> list[str]:
    return [check.name for check in judge(STORM, one).checks if not check.passed]


def test_what_a_storm_offers() -> None:
    """Five calls a second fit, and nine clients for each place come on top of the one."""
    assert (STORM.calls_per_s, STORM.naive) == (5.0, 90)


def test_a_storm_that_nobody_noticed() -> None:
    """All completed, nobody late, every refusal with its advice, the backend not beyond full."""
    result = judge(STORM, seen())
    assert result.passed
    assert result.figures["goodput_ratio"] == 1.0
    assert result.figures["refused"] == 180


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"ended": 3}, "goodput"),
        ({"stormy_ms": 7.5}, "lateness of live calls"),
        ({"without_retry_after": 1}, "refusals without Retry-After"),
        ({"refused": 0}, "refusals there were"),
        ({"started": 34}, "backend load"),
        ({"most": 23}, "backend load"),
        ({"lost_calls": 1}, "live calls lost"),
    ],
)
def test_each_bar_can_fail(change: dict[str, int], check: str) -> None:
    """One figure beyond its bar fails that check and no other."""
    assert failed(seen(**change)) == [check]


def test_lateness_that_was_not_seen_fails() -> None:
    """Without a single echo of a live call nothing was proven."""
    empty = Seen([], tallies(6, 6, ended=5), tallies(1, 1, refused=9), 30, 20)
    assert "lateness of live calls" in failed(empty)


@pytest.mark.slow
def test_a_small_storm() -> None:
    """Ten times the load on eight places: it is refused politely, and no live call is lost."""
    arguments = ["storm", "--capacity", "8", "--call-s", "2", "--seconds", "5", "--json"]
    output = CliRunner().invoke(app, arguments)
    result = json.loads(output.stdout.splitlines()[-1])
    assert result["refused"] > 0
    assert result["refused_without_retry_after"] == 0
    assert result["live_calls_lost"] == 0
    assert result["backend_load_ratio"] <= 1.1
