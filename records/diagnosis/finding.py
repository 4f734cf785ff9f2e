"""What a rule finds: a cause with the events that say so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from records.diagnosis.causes import Cause

MAX_EVIDENCE = 8  # of one finding; a screen shows no more


class Strength(IntEnum):
    """How a cause is known. A stronger one is named before a weaker one."""

    CIRCUMSTANCE = 1  # it was so at the same time
    MEASURED = 2  # a figure is beyond its threshold
    SAID = 3  # who saw it wrote it down
    ENDED = 4  # and it was the end of the call


@dataclass(frozen=True, slots=True)
class Evidence:
    """One event that says so; `source` and `number` find it in the record."""

    source: str
    number: int
    wall_us: int
    words: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause. `severity` is 0 to 1 and orders findings of one strength."""

    cause: Cause
    strength: Strength
    severity: float
    sentence: str
    evidence: tuple[Evidence, ...]

    @property
    def at_us(self) -> int:
        """When it began."""
        return min((one.wall_us for one in self.evidence), default=0)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """One finding a cause: the words of the strongest, the evidence of all in order of time."""
    by_cause: dict[Cause, list[Finding]] = {}
    for one in findings:
        by_cause.setdefault(one.cause, []).append(one)
    return [_join(found) for found in by_cause.values()]


def rank(finding: Finding) -> tuple[int, float, int]:
    """The most probable first, and of equals the earlier one."""
    return -finding.strength, -finding.severity, finding.at_us


def _join(found: list[Finding]) -> Finding:
    best = min(found, key=rank)
    # What the strongest rests on is never cut off.
    others = dict.fromkeys(each for one in found for each in one.evidence)
    kept = list(dict.fromkeys([*best.evidence, *others]))[:MAX_EVIDENCE]
    ordered = sorted(kept, key=lambda one: (one.wall_us, one.source, one.number))
    return Finding(best.cause, best.strength, best.severity, best.sentence, tuple(ordered))
