"""A call that went from one node to another."""

from __future__ import annotations

from collections.abc import Iterator

from records.diagnosis.causes import Cause
from records.diagnosis.facts import Facts, finite, shown_ms
from records.diagnosis.finding import Finding, Strength
from trunkline.v1 import record_pb2 as pb


def moved(facts: Facts) -> Iterator[Finding]:
    """Each takeover, as its new owner tells of it. One after a crash weighs more."""
    for fact in facts.of("moved"):
        kind, gap_ms = fact.body.kind, finite(fact.body.gap_ms) or 0.0
        if kind not in (pb.MOVE_KIND_PLANNED, pb.MOVE_KIND_CRASH):
            continue
        crashed = kind == pb.MOVE_KIND_CRASH
        why = "died" if crashed else "handed the call over"
        cost = f", with a gap of {shown_ms(gap_ms)}" if gap_ms else ""
        words = f"node {fact.body.from_node} {why}, node {fact.body.to_node} went on{cost}"
        yield Finding(
            cause=Cause.NODE_MOVED,
            strength=Strength.SAID if crashed else Strength.CIRCUMSTANCE,
            severity=0.9 if crashed else 0.3,
            sentence=f"{words[0].upper()}{words[1:]}.",
            evidence=(fact.says(words),),
        )
