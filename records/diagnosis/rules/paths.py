"""A caller whose packets begin to come from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from records.diagnosis.causes import Cause
from records.diagnosis.facts import US_PER_S, Facts
from records.diagnosis.finding import Finding, Strength

# A caller tries all its candidates at once and settles for one within this time. A change after it
# is another network, or a router that forgot the caller.
SETTLED_S = 5


def path_changed(facts: Facts) -> Iterator[Finding]:
    """Each change of the path after the call had settled."""
    for fact in facts.of("path"):
        if fact.body.from_network and fact.wall_us - facts.began_us > SETTLED_S * US_PER_S:
            other = fact.body.from_network != fact.body.to_network
            where = "another network" if other else "another port of the same network"
            sentence = f"The caller's packets began to come from {where}."
            evidence = (fact.says(f"path changed to {where}"),)
            yield Finding(Cause.PATH_CHANGED, Strength.SAID, 0.6, sentence, evidence)
