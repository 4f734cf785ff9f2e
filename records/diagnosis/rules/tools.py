"""A tool that does not come back."""

from __future__ import annotations

from collections.abc import Iterator

from records.diagnosis.causes import Cause
from records.diagnosis.facts import US_PER_S, Fact, Facts, finite, shown_ms
from records.diagnosis.finding import Finding, Strength
from records.diagnosis.rules.failures import LATE, model_faults
from trunkline.v1 import record_pb2 as pb

# Nobody waits longer on a telephone without a word: after 3 s of silence the flight recorder
# takes the call for broken, and some tools say a word first.
HANGING_MS = 5_000
LONG_MS = 30_000  # beyond it nothing is worse
_OVER = frozenset(
    (
        *(pb.TOOL_OUTCOME_OK, pb.TOOL_OUTCOME_FAILED),
        *(pb.TOOL_OUTCOME_TIMED_OUT, pb.TOOL_OUTCOME_CANCELLED),
    )
)


def hanging_tool(facts: Facts) -> Iterator[Finding]:
    """A tool that timed out, took too long, or began and never ended."""
    over = {one.body.tool_call_id for one in facts.of("tool") if one.body.outcome in _OVER}
    for fact in facts.of("tool"):
        took_ms = finite(fact.body.duration_ms) or 0.0
        if fact.body.outcome == pb.TOOL_OUTCOME_TIMED_OUT:
            yield _hung(fact, Strength.SAID, f"timed out after {shown_ms(took_ms)}", 0.9)
        elif took_ms >= HANGING_MS:
            severity = min(1.0, took_ms / LONG_MS)
            yield _hung(fact, Strength.MEASURED, f"took {shown_ms(took_ms)}", severity)
        elif fact.body.outcome not in _OVER and fact.body.tool_call_id not in over:
            yield from _never_ended(facts, fact)
    for failure in model_faults(facts):
        if failure.stage == "tool" and failure.kind in LATE:
            sentence = "A tool did not answer in time."
            evidence = (failure.evidence("was late"),)
            yield Finding(Cause.HANGING_TOOL, Strength.SAID, 0.9, sentence, evidence)


def _never_ended(facts: Facts, fact: Fact) -> Iterator[Finding]:
    waited_ms = (facts.last_us - fact.wall_us) / US_PER_S * 1000
    if waited_ms >= HANGING_MS:
        words = f"began, and had not ended {shown_ms(waited_ms)} later"
        yield _hung(fact, Strength.MEASURED, words, 0.9)


def _hung(fact: Fact, strength: Strength, words: str, severity: float) -> Finding:
    said = f"tool {fact.body.name or 'of no name'} {words}"
    sentence = f"{said[0].upper()}{said[1:]}."
    return Finding(Cause.HANGING_TOOL, strength, severity, sentence, (fact.says(said),))
