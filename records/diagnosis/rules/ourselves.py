"""Faults of Trunkline, and what is missing in its record."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from records.diagnosis.causes import Cause
from records.diagnosis.facts import Fact, Facts
from records.diagnosis.finding import Finding, Strength


def own_faults(facts: Facts) -> Iterator[Finding]:
    """Something of ours raised."""
    for fact in facts.of("fault"):
        sentence = (
            f"Something in Trunkline raised {fact.body.kind or 'an error'}; the log has more."
        )
        evidence = (fact.says(f"raised {fact.body.kind or 'an error'}"),)
        yield Finding(Cause.OWN_FAULT, Strength.SAID, 0.9, sentence, evidence)


def holes(facts: Facts) -> Iterator[Finding]:
    """Holes that a source knows of, and numbers that are missing between two events of one."""
    known = set[tuple[str, int]]()
    for fact in facts.of("hole"):
        first, last = fact.body.first, fact.body.last
        known.add((fact.event.source, last))
        yield _hole(fact, f"events {first} to {last} are missing")
    for before, after in _breaks(facts):
        missing = (before.event.number + 1, after.event.number - 1)
        if (after.event.source, missing[1]) not in known:
            yield _hole(after, f"events {missing[0]} to {missing[1]} are missing")


def _breaks(facts: Facts) -> Iterator[tuple[Fact, Fact]]:
    by_source: dict[str, list[Fact]] = {}
    for fact in facts.all:
        by_source.setdefault(fact.event.source, []).append(fact)
    for found in by_source.values():
        ordered = sorted(found, key=lambda one: one.event.number)
        for before, after in pairwise(ordered):
            if after.event.number > before.event.number + 1:
                yield before, after


def _hole(fact: Fact, words: str) -> Finding:
    sentence = f"The record has a hole: {words}, so what happened then is not known."
    return Finding(Cause.RECORD_HOLE, Strength.CIRCUMSTANCE, 0.1, sentence, (fact.says(words),))
