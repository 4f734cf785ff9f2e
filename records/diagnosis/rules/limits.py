"""Budgets of ours, and rate limits of who provides a model."""

from __future__ import annotations

from collections.abc import Iterator

from records.diagnosis.causes import Cause
from records.diagnosis.facts import Facts
from records.diagnosis.finding import Finding, Strength
from records.diagnosis.rules.failures import RATE_LIMIT, failed_turns, model_faults


def budget_used_up(facts: Facts) -> Iterator[Finding]:
    """The budget of a key or a model that ran out during the call."""
    for fact in facts.of("budget"):
        if fact.body.used_up:
            sentence = f"The budget of {fact.body.subject or 'the call'} was used up."
            evidence = (fact.says(f"budget of {fact.body.subject} used up"),)
            yield Finding(Cause.BUDGET_USED_UP, Strength.SAID, 1.0, sentence, evidence)


def rate_limited(facts: Facts) -> Iterator[Finding]:
    """A provider that said: too many."""
    for failure in (*model_faults(facts), *failed_turns(facts)):
        if failure.kind in RATE_LIMIT:
            sentence = f"The provider of {failure.what} refused: too many requests."
            yield Finding(
                Cause.RATE_LIMITED,
                Strength.SAID,
                0.9,
                sentence,
                (failure.evidence("rate limited"),),
            )
