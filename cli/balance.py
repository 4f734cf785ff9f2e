"""Which calls to move so that all transceivers are used alike. Pure.

A node's fair part of all calls is its part of all places. Calls go one by one from the node that
has most beyond its part to the one that has least, until no two are more than SLACK calls apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SLACK = 1.0  # call: the next move would only turn the difference round


@dataclass(frozen=True)
class Share:
    """A node that takes calls: its name, live calls, and how many it takes."""

    name: str
    calls: int
    capacity: int


@dataclass(frozen=True)
class Step:
    """One call of `source` goes to `target`, both by name."""

    source: str
    target: str


def plan(shares: Sequence[Share]) -> list[Step]:
    """The moves, in order; none when all is even, or there is nobody to move to."""
    places = sum(share.capacity for share in shares)
    if not places:
        return []
    calls = sum(share.calls for share in shares)
    beyond = {share.name: share.calls - calls * share.capacity / places for share in shares}
    steps: list[Step] = []
    while True:
        source = max(beyond, key=lambda name: beyond[name])
        target = min(beyond, key=lambda name: beyond[name])
        if beyond[source] - beyond[target] <= SLACK or beyond[source] <= 0:
            return steps
        steps.append(Step(source, target))
        beyond[source] -= 1
        beyond[target] += 1
