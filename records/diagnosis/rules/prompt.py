"""A prompt that was changed shortly before a call that did not go well."""

from __future__ import annotations

from collections.abc import Iterator

from records.diagnosis.causes import Cause
from records.diagnosis.facts import US_PER_S, Fact, Facts
from records.diagnosis.finding import Finding, Strength
from records.diagnosis.rules.ending import hung_up_in_the_middle
from trunkline.v1 import record_pb2 as pb

# A change shows itself in the first calls that use it. Two hours are long enough for a roll-out,
# and short enough that it is the last thing that was changed.
SHORTLY_S = 2 * 3600
# Callers speak over an answer now and then; over half of at least two, the answers are wrong.
MIN_INTERRUPTED = 2


def prompt_changed(facts: Facts) -> Iterator[Finding]:
    """It is a circumstance: it is named where callers are unhappy and nothing else explains it."""
    changed_us, session = facts.before.prompt_changed_us, facts.last("session")
    if changed_us is None or session is None:
        return
    age_s = (facts.began_us - changed_us) / US_PER_S
    unhappy = list(_unhappy(facts))
    if 0 <= age_s <= SHORTLY_S and unhappy:
        name = f"{session.body.prompt_id or 'the prompt'}@{session.body.prompt_version}"
        words = f"{name} was first used {age_s / 60:.0f} minutes before this call"
        evidence = (session.says(words), *(fact.says(said) for fact, said in unhappy))
        sentence = f"{words[0].upper()}{words[1:]}, and callers did not like the answers."
        yield Finding(Cause.PROMPT_CHANGED, Strength.CIRCUMSTANCE, 0.5, sentence, evidence)


def _unhappy(facts: Facts) -> Iterator[tuple[Fact, str]]:
    turns = facts.turns()
    cut = [one for one in turns if one.body.interrupted]
    if len(cut) >= MIN_INTERRUPTED and 2 * len(cut) >= len(turns):
        yield cut[-1], f"{len(cut)} of {len(turns)} answers were interrupted"
    for fact in facts.of("tool"):
        if fact.body.outcome == pb.TOOL_OUTCOME_FAILED:
            yield fact, f"tool {fact.body.name} failed"
    for finding in hung_up_in_the_middle(facts):
        for one in facts.of("ended"):
            yield one, finding.sentence.rstrip(".").lower()
        break
