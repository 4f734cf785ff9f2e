"""From the facts of a call to its most probable cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from records.diagnosis.causes import NEARBY, Cause, explains
from records.diagnosis.facts import US_PER_S, Facts
from records.diagnosis.finding import Evidence, Finding, Strength, merged, rank
from records.diagnosis.rules import RULES

# Media is told every 10 s, so what it tells may have been that much earlier; and a turn is told
# some seconds after its question.
NEAR_US = 15 * US_PER_S

KNOWN_BY = {
    Strength.CIRCUMSTANCE: "circumstance",
    Strength.MEASURED: "measured",
    Strength.SAID: "said",
    Strength.ENDED: "ended",
}


@dataclass(frozen=True, slots=True)
class Named:
    """One cause with what says so. `known_by` is circumstance, measured, said or ended."""

    cause: str
    title: str
    sentence: str
    known_by: str
    at_us: int
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The most probable cause; `also` was found beside it, and `follows` is explained by others."""

    cause: str
    title: str
    sentence: str
    known_by: str
    at_us: int
    evidence: tuple[Evidence, ...]
    also: tuple[Named, ...]
    follows: tuple[Named, ...]


def diagnose(facts: Facts) -> Diagnosis:
    """Name the cause that is most probable; `nothing_wrong` where no rule finds anything."""
    found = merged(one for rule in RULES for one in rule(facts))
    follows = [one for one in found if _explained(one, found)]
    causes = sorted((one for one in found if one not in follows), key=rank)
    if not causes:
        return _nothing(facts)
    first, *rest = map(_named, causes)
    return Diagnosis(
        cause=first.cause,
        title=first.title,
        sentence=first.sentence,
        known_by=first.known_by,
        at_us=first.at_us,
        evidence=first.evidence,
        also=tuple(rest),
        follows=tuple(map(_named, sorted(follows, key=rank))),
    )


def _nothing(facts: Facts) -> Diagnosis:
    sentence = "No rule finds anything wrong in the events of this call."
    cause = Cause.NOTHING_WRONG
    return Diagnosis(cause.value, cause.title, sentence, "measured", facts.last_us, (), (), ())


def _explained(finding: Finding, found: Sequence[Finding]) -> bool:
    return any(
        explains(other.cause, finding.cause)
        or (finding.cause in NEARBY.get(other.cause, ()) and _near(finding, other))
        for other in found
        if other is not finding
    )


def _near(finding: Finding, other: Finding) -> bool:
    """Whether everything that says `finding` was about when `other` was."""
    return all(
        any(abs(one.wall_us - cause.wall_us) <= NEAR_US for cause in other.evidence)
        for one in finding.evidence
    )


def _named(finding: Finding) -> Named:
    return Named(
        cause=finding.cause.value,
        title=finding.cause.title,
        sentence=finding.sentence,
        known_by=KNOWN_BY[finding.strength],
        at_us=finding.at_us,
        evidence=finding.evidence,
    )
