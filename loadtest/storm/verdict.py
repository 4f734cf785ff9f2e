"""The results of a storm: goodput, lateness before and within it, refusals. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.benchmark import Check, Result
from loadtest.live.tally import Tally, total

MIN_GOODPUT_RATIO = 0.9
MAX_LATENESS_RATIO = 1.2
MAX_BACKEND_RATIO = 1.1
LATENESS_FLOOR_MS = 2.0
"""A p99 below this is the noise of the clock and the scheduler; a ratio of two says nothing."""


@dataclass(frozen=True)
class Storm:
    """The plan: `capacity` calls fit; `residents` of them stay, the rest last `call_s` each.

    The storm lasts from `at_s` to `end_s`; before it, from `calm_s` on, all is full and calm.
    """

    capacity: int
    residents: int
    call_s: float
    times: int
    calm_s: int
    at_s: int
    end_s: int

    @property
    def calls_per_s(self) -> float:
        """Calls that can be completed in a second: places that turn over, by a call's length."""
        return (self.capacity - self.residents) / self.call_s

    @property
    def naive(self) -> int:
        """Clients on top of those that fit, so that `times` the load is offered."""
        return (self.times - 1) * (self.capacity - self.residents)


@dataclass(frozen=True)
class Seen:
    """What generators and backend saw; tallies by second of the run."""

    residents: Sequence[Tally]
    regulars: Sequence[Tally]
    naive: Sequence[Tally]
    backend_started: int
    backend_most: int


def judge(storm: Storm, seen: Seen) -> Result:
    """Figures and the four bars."""
    during = [total(_between(group, storm.at_s, storm.end_s)) for group in _groups(seen)]
    whole = total(during)
    calm_ms, storm_ms = (_lateness_ms(seen.residents, *span) for span in _spans(storm))
    seconds = storm.end_s - storm.at_s
    goodput = whole.ended / (storm.calls_per_s * seconds)
    backend = max(
        seen.backend_started / (storm.calls_per_s * seconds), seen.backend_most / storm.capacity
    )
    result = Result(failures=whole.failures)
    result.figures = {
        "goodput_ratio": round(goodput, 3),
        "calls_completed": whole.ended,
        "capacity_calls": round(storm.calls_per_s * seconds),
        "requests_per_s": round((whole.placed + whole.refused) / seconds, 1),
        "refused": whole.refused,
        "refused_without_retry_after": whole.without_retry_after,
        "calm_lateness_ms_p99": calm_ms,
        "storm_lateness_ms_p99": storm_ms,
        "lateness_ratio": _ratio(storm_ms, calm_ms),
        "backend_load_ratio": round(backend, 3),
        "live_calls_lost": sum(one.lost_calls for one in during),
        "send_lateness_ms_p99": total(
            _between(seen.residents, storm.at_s, storm.end_s)
        ).send_lateness_ms.percentile(99),
    }
    result.checks = _checks(result)
    return result


def _checks(result: Result) -> list[Check]:
    value = {name: float(v) for name, v in result.figures.items() if isinstance(v, int | float)}
    return [
        _bar("goodput", value["goodput_ratio"], at_least=MIN_GOODPUT_RATIO),
        _bar("lateness of live calls", value.get("lateness_ratio"), at_most=MAX_LATENESS_RATIO),
        _bar("refusals without Retry-After", value["refused_without_retry_after"], at_most=0),
        _bar("refusals there were", value["refused"], at_least=1),
        _bar("backend load", value["backend_load_ratio"], at_most=MAX_BACKEND_RATIO),
        _bar("live calls lost", value["live_calls_lost"], at_most=0),
    ]


def _bar(
    name: str, value: float | None, *, at_least: float | None = None, at_most: float | None = None
) -> Check:
    if value is None:
        return Check(name, passed=False, detail="was not measured")
    if at_least is not None:
        return Check(name, value >= at_least, f"{value:g}, bar: at least {at_least:g}")
    assert at_most is not None  # noqa: S101 - one of the two is given
    return Check(name, value <= at_most, f"{value:g}, bar: at most {at_most:g}")


def _ratio(storm_ms: float | None, calm_ms: float | None) -> float | None:
    if storm_ms is None or calm_ms is None:
        return None
    return round(max(storm_ms, LATENESS_FLOOR_MS) / max(calm_ms, LATENESS_FLOOR_MS), 3)


def _lateness_ms(tallies: Sequence[Tally], start_s: int, end_s: int) -> float | None:
    return total(_between(tallies, start_s, end_s)).lateness_ms.percentile(99)


def _spans(storm: Storm) -> tuple[tuple[int, int], tuple[int, int]]:
    return (storm.calm_s, storm.at_s), (storm.at_s, storm.end_s)


def _groups(seen: Seen) -> tuple[Sequence[Tally], ...]:
    return seen.residents, seen.regulars, seen.naive


def _between(tallies: Sequence[Tally], start_s: int, end_s: int) -> list[Tally]:
    return [tally for tally in tallies if start_s <= tally.second < end_s]
