"""The results of a run: figures, the cost of each fault, which thresholds held. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.benchmark import Check, Result
from loadtest.live.tally import total
from loadtest.scenario_runs.metrics import Metric, cost_of_a_call, figures, known, loss_percent
from loadtest.scenario_runs.scenario_file import Bound, ScenarioFile
from loadtest.scenario_runs.timeline import Moment

FAULT_WINDOW_S = 20
"""What happens this long after a fault is laid at its door, unless another comes first."""


@dataclass(frozen=True)
class InjectedFault:
    """A fault that was done: what it hit and when, in seconds from the start of the run."""

    name: str
    part: str
    at_s: float
    took_s: float
    note: str = ""
    calls_lost_max: int | None = None


@dataclass(frozen=True)
class Cost:
    """What callers noticed of one fault."""

    fault: InjectedFault
    calls_lost: int
    calls_failed: int
    worst_gap_ms: float | None
    frames_lost_percent: float | None

    def as_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        return {
            "fault": self.fault.name,
            "part": self.fault.part,
            "at_s": round(self.fault.at_s, 2),
            "note": self.fault.note,
            "calls_lost": self.calls_lost,
            "calls_failed": self.calls_failed,
            "worst_gap_ms": self.worst_gap_ms,
            "frames_lost_percent": self.frames_lost_percent,
        }


def judge(
    scenario: ScenarioFile, moments: Sequence[Moment], faults: Sequence[InjectedFault]
) -> Result:
    """Figures, failures by reason and a check for each threshold."""
    values = figures(moments)
    whole = total(moment.tally for moment in moments)
    result = Result(figures={**known(values)}, failures=whole.failures)
    if per_call := cost_of_a_call(moments):
        result.figures["cpu_ms_per_call_s"] = per_call
    costs = costs_of(faults, moments)
    if costs:
        result.figures["faults"] = [cost.as_json() for cost in costs]
    result.checks = [
        *checks(scenario.thresholds, values),
        *(
            _affordable(cost, most)
            for cost in costs
            if (most := cost.fault.calls_lost_max) is not None
        ),
        Check("every fault was done", len(faults) == len(scenario.fault), f"{len(faults)}"),
    ]
    return result


def checks(thresholds: Mapping[Metric, Bound], values: Mapping[str, float | None]) -> list[Check]:
    """One for each threshold; a figure that was never measured holds no threshold."""
    return [_check(name, bound, values[name]) for name, bound in thresholds.items()]


def costs_of(faults: Sequence[InjectedFault], moments: Sequence[Moment]) -> list[Cost]:
    """What was noticed from each fault to the next, `FAULT_WINDOW_S` at most."""
    ends = [*(fault.at_s for fault in faults[1:]), float("inf")]
    return [
        _cost(fault, [m for m in moments if _within(m, fault.at_s, end)])
        for fault, end in zip(faults, ends, strict=False)  # the last end is nobody's without faults
    ]


def _affordable(cost: Cost, most: int) -> Check:
    detail = f"{cost.calls_lost} calls lost, at most {most}"
    return Check(f"{cost.fault.name} at {cost.fault.at_s:.0f} s", cost.calls_lost <= most, detail)


def _within(moment: Moment, start_s: float, end_s: float) -> bool:
    return int(start_s) <= moment.tally.second < min(end_s, start_s + FAULT_WINDOW_S)


def _cost(fault: InjectedFault, moments: Sequence[Moment]) -> Cost:
    whole = total(moment.tally for moment in moments)
    lost = whole.failures["silent"] + whole.failures["closed_by_peer"]
    return Cost(
        fault,
        whole.lost_calls,
        whole.failures.total() - lost,
        whole.gap_ms.percentile(100),
        loss_percent(whole),
    )


def _check(name: str, bound: Bound, value: float | None) -> Check:
    if value is None:
        return Check(name, passed=False, detail="was not measured")
    above = bound.min is None or value >= bound.min
    below = bound.max is None or value <= bound.max
    return Check(name, above and below, f"{value:g}, {_bounds(bound)}")


def _bounds(bound: Bound) -> str:
    words = (("at least", bound.min), ("at most", bound.max))
    return ", ".join(f"{word} {value:g}" for word, value in words if value is not None)
