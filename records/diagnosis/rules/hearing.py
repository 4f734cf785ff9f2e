"""Speech recognition that hears nothing."""

from __future__ import annotations

from collections.abc import Iterator

from records.diagnosis.causes import Cause
from records.diagnosis.facts import Fact, Facts, figure
from records.diagnosis.finding import Finding, Strength
from records.diagnosis.rules.failures import RATE_LIMIT, failed_turns, model_faults
from trunkline.v1 import record_pb2 as pb

# Speech into a microphone has a mean level of -40 to -15 dBov over 10 s with its pauses; a quiet
# room has less than -60.
SPOKEN_DBOV = -45
SPOKEN_SPANS = 2  # of 10 s: who speaks so long said something
_CONVERSATION = ("session", "item", "turn")


def heard_nothing(facts: Facts) -> Iterator[Finding]:
    """What backends say, turns in which nothing was understood, and speech without any words."""
    for failure in (*model_faults(facts), *failed_turns(facts)):
        if failure.stage == "stt" and failure.kind not in RATE_LIMIT:
            evidence = failure.evidence(f"gave nothing ({failure.kind or 'no reason is recorded'})")
            yield _finding(Strength.SAID, evidence.words, failure.fact)
    for fact in facts.turns():
        if _nothing_understood(fact):
            words = f"turn {fact.body.turn} ended and nothing was understood"
            yield _finding(Strength.MEASURED, words, fact)
    yield from _speech_without_words(facts)


def _nothing_understood(fact: Fact) -> bool:
    turn = fact.body
    later = ("heard_ms", "first_words_ms", "first_sound_ms", "out_ms")
    over = turn.final and not turn.interrupted and not turn.failed
    return (
        over
        and figure(turn, "ended_ms") is not None
        and all(figure(turn, name) is None for name in later)
    )


def _speech_without_words(facts: Facts) -> Iterator[Finding]:
    """The caller was loud enough, and the conversation has no word of theirs.

    A backend that tells of no conversation at all, as an echo, recognizes nothing by intent.
    """
    told = any(facts.of(kind) for kind in _CONVERSATION)
    spoken = [one for one in facts.of("media") if _is_speech(one)]
    said = any(one.body.role == pb.ROLE_USER for one in facts.of("item")) or facts.of("turn")
    if told and not said and len(spoken) >= SPOKEN_SPANS:
        words = "there was sound from the caller, and not one word was recognized"
        yield _finding(Strength.CIRCUMSTANCE, words, *spoken)


def _is_speech(fact: Fact) -> bool:
    level = figure(fact.body, "level_dbov")
    came = fact.body.direction == pb.DIRECTION_FROM_CALLER
    return came and level is not None and level >= SPOKEN_DBOV


def _finding(strength: Strength, words: str, *facts: Fact) -> Finding:
    sentence = f"Speech recognition heard nothing ({words})."
    evidence = tuple(one.says(words) for one in facts)
    return Finding(Cause.STT_HEARD_NOTHING, strength, 0.7, sentence, evidence)
