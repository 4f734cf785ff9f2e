"""What a siege did to the live callers. Pure: tallies and notes in, figures and checks out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.benchmark import Check, Result
from loadtest.live.tally import Tally, total
from loadtest.siege.notes import Notes
from loadtest.storm.verdict import LATENESS_FLOOR_MS

MAX_LOST_SHARE = 0.001
MAX_LATENESS_RATIO = 1.5
MAX_AMPLIFICATION = 3.0


@dataclass(frozen=True)
class Stretch:
    """Seconds of the run, `start_s` to before `end_s`; `attack` "" for quiet ones."""

    attack: str
    start_s: int
    end_s: int

    def has(self, second: int) -> bool:
        """Whether a second belongs to it; the first one is nobody's."""
        return self.start_s < second < self.end_s


@dataclass(frozen=True)
class Seen:
    """Tallies of the live callers by second of the run, and what was noted beside them.

    `notes` are those of the end of each stretch; `least_per_s` is what each attack must have done.
    """

    tallies: Sequence[Tally]
    stretches: Sequence[Stretch]
    restarted: int
    tracebacks: int
    notes: Sequence[Notes]
    least_per_s: Mapping[str, float]


def judge(seen: Seen) -> Result:
    """Figures and bars."""
    attacked = [s for s in seen.stretches if s.attack]
    during = _within(seen, attacked)
    idle, *calm = [s for s in seen.stretches if not s.attack]
    quiet = _within(seen, calm)
    lost = sum(tally.lost_calls for tally in seen.tallies)
    share = 1 - during.echoed / during.sent if during.sent else None
    calm_ms, siege_ms = quiet.lateness_ms.percentile(99), during.lateness_ms.percentile(99)
    result = Result(failures=during.failures)
    notes, rates = seen.notes[-1], _rates(seen)
    result.figures = {
        "live_calls": during.live,
        "live_lost_calls": lost,
        "live_frames_lost_share": None if share is None else round(share, 6),
        "idle_lateness_ms_p99": _within(seen, [idle]).lateness_ms.percentile(99),
        "quiet_lateness_ms_p99": calm_ms,
        "siege_lateness_ms_p99": siege_ms,
        "lateness_ratio": _ratio(siege_ms, calm_ms),
        "processes_restarted": seen.restarted,
        "tracebacks": seen.tracebacks,
        "strangers_bytes": notes.strangers_bytes,
        "amplification_max": round(max(notes.amplification), 2) if notes.amplification else None,
        "idle_attacks": sum(rate < seen.least_per_s[attack] for attack, rate in rates.items()),
        "callers_lateness_ms_p99": during.send_lateness_ms.percentile(99),
        "lateness_ms_p99_by_attack": {
            s.attack: _within(seen, [s]).lateness_ms.percentile(99) for s in attacked
        },
        "frames_lost_by_attack": {
            s.attack: (t := _within(seen, [s])).sent - t.echoed for s in attacked
        },
        "done_per_s_by_attack": rates,
        "cores_by_attack": {
            s.attack: n.share for s, n in zip(seen.stretches, seen.notes, strict=True) if s.attack
        },
    }
    result.checks = _checks(result.figures)
    if not notes.amplification and not notes.done[UNANSWERED]:  # it was not asked for
        result.checks = [c for c in result.checks if c.name != "amplification_max"]
    return result


TOGETHER = "all together"
UNANSWERED = "addresses that never answer"


def _rates(seen: Seen) -> dict[str, float]:
    """How much each attack did in a second, by itself."""
    ends = zip(seen.stretches, seen.notes, strict=True)
    return {
        s.attack: round(notes.done[s.attack] / (s.end_s - s.start_s), 1)
        for s, notes in ends
        if s.attack not in ("", TOGETHER)
    }


def _within(seen: Seen, stretches: Sequence[Stretch]) -> Tally:
    return total(t for t in seen.tallies if any(s.has(t.second) for s in stretches))


def _ratio(siege_ms: float | None, calm_ms: float | None) -> float | None:
    if siege_ms is None or calm_ms is None:
        return None
    return round(max(siege_ms, LATENESS_FLOOR_MS) / max(calm_ms, LATENESS_FLOOR_MS), 3)


def _checks(figures: dict[str, object]) -> list[Check]:
    bars = {
        "live_lost_calls": 0,
        "live_frames_lost_share": MAX_LOST_SHARE,
        "lateness_ratio": MAX_LATENESS_RATIO,
        "processes_restarted": 0,
        "tracebacks": 0,
        "strangers_bytes": 0,
        "amplification_max": MAX_AMPLIFICATION,
        "idle_attacks": 0,
    }
    return [_at_most(name, figures[name], bar) for name, bar in bars.items()]


def _at_most(name: str, value: object, bar: float) -> Check:
    if not isinstance(value, int | float):
        return Check(name, passed=False, detail="was not measured")
    return Check(name, value <= bar, f"{value:g}, bar: at most {bar:g}")
