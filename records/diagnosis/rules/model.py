"""A model that answers late, breaks off, or does not answer at all."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from records.diagnosis.causes import Cause
from records.diagnosis.facts import US_PER_S, Fact, Facts, figure, shown_ms
from records.diagnosis.finding import Finding, Strength
from records.diagnosis.rules.failures import (
    EMPTY,
    LATE,
    RATE_LIMIT,
    Failure,
    failed_turns,
    model_faults,
)
from trunkline.v1 import record_pb2 as pb

# Callers ask "are you there?" after about 2 s of silence. The slowest tenth of answers of the local
# models begins after 1.0 s (docs/measured.md), so nothing healthy comes near.
LATE_MS = 2_000
# Twice that: without stages, what recognition and synthesis took is in it, too.
LATE_WITHOUT_STAGES_MS = 4_000
# A call that goes on so long after a question, with no answer, has none. The slowest healthy
# answer with a tool takes less.
UNANSWERED_S = 5
LATE_ENOUGH_MS = 10_000  # beyond it nothing is worse
_ANSWERS = ("item", "turn", "tool", "model_fault")


def late(facts: Facts) -> Iterator[Finding]:
    """What backends say was late, and turns whose model took too long."""
    for failure in _of_models(facts):
        if failure.kind in LATE:
            yield _late(failure.fact, Strength.SAID, failure.evidence("was late").words, 0.8)
    for fact in facts.turns():
        waited_ms, which = waited(fact)
        if waited_ms >= LATE_MS:
            words = f"turn {fact.body.turn}: {which} took {shown_ms(waited_ms)}"
            severity = min(1.0, waited_ms / LATE_ENOUGH_MS)
            yield _late(fact, Strength.MEASURED, words, severity)


def waited(fact: Fact) -> tuple[float, str]:
    """How long a turn's model was waited for, in ms, and which part of it; tools are left out."""
    turn = fact.body
    ended, words = figure(turn, "ended_ms") or 0.0, figure(turn, "first_words_ms")
    sound, out = figure(turn, "first_sound_ms"), figure(turn, "out_ms")
    asked = max(ended, figure(turn, "heard_ms") or 0.0)
    if words is None and sound is None:
        whole = 0.0 if out is None else out - asked - _tool_ms(fact, asked, out)
        return (whole if whole >= LATE_WITHOUT_STAGES_MS else 0.0), "the answer"
    thought = 0.0 if words is None else words - asked - _tool_ms(fact, asked, words)
    begun = max(asked, words or 0.0)
    voiced = 0.0 if sound is None else sound - begun - _tool_ms(fact, begun, sound)
    return max((thought, "the first words"), (voiced, "the first sound"))


def _tool_ms(fact: Fact, from_ms: float, to_ms: float) -> float:
    """How much of a span a tool ran."""
    started = figure(fact.body, "tool_started_ms")
    ended = figure(fact.body, "tool_ended_ms")
    if started is None:
        return 0.0
    return max(0.0, min(to_ms, to_ms if ended is None else ended) - max(from_ms, started))


def _late(fact: Fact, strength: Strength, words: str, severity: float) -> Finding:
    sentence = f"The model answered late ({words})."
    return Finding(Cause.LATE_MODEL, strength, severity, sentence, (fact.says(words),))


def broke_off(facts: Facts) -> Iterator[Finding]:
    """An answer that began, or was asked for, and failed."""
    for failure in _of_models(facts):
        if failure.kind not in LATE | RATE_LIMIT:
            how = "gave nothing" if failure.kind in EMPTY else f"failed ({failure.kind})"
            evidence = failure.evidence(how)
            sentence = f"{evidence.words[0].upper()}{evidence.words[1:]}."
            yield Finding(Cause.MODEL_BROKE_OFF, Strength.SAID, 0.8, sentence, (evidence,))


def never_answered(facts: Facts) -> Iterator[Finding]:
    """A question after which the call went on without an answer."""
    told = sorted((one for kind in _ANSWERS for one in facts.of(kind)), key=_wall_us)
    answered = {turn.body.item_id for turn in facts.turns()}
    for first, last in facts.items():
        own = last.body.item_id
        if last.body.role != pb.ROLE_USER or not last.body.final or own in answered:
            continue
        on_us = facts.last_us - last.wall_us
        if on_us >= UNANSWERED_S * US_PER_S and not _followed(told, first, own):
            words = f"no answer within {UNANSWERED_S} s of what the caller said"
            sentence = f"The model did not answer: there was {words}."
            yield Finding(
                Cause.LATE_MODEL, Strength.CIRCUMSTANCE, 0.6, sentence, (last.says(words),)
            )


def _followed(told: Sequence[Fact], question: Fact, own: str) -> bool:
    """Whether anything else of the conversation came in time; `told` is in order of time."""
    until_us = question.wall_us + UNANSWERED_S * US_PER_S
    for place in range(bisect_left(told, question.wall_us, key=_wall_us), len(told)):
        one = told[place]
        if one.wall_us > until_us:
            return False
        if one.kind != "item" or one.body.item_id != own:
            return True
    return False


def _wall_us(fact: Fact) -> int:
    return fact.wall_us


def _of_models(facts: Facts) -> Iterator[Failure]:
    """Failures of all but recognition and tools, which have rules of their own."""
    for failure in (*model_faults(facts), *failed_turns(facts)):
        if failure.stage not in ("stt", "tool"):
            yield failure
