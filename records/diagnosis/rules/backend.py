"""A backend that went away in the middle of a call, was not there, or did not take it."""

from __future__ import annotations

from collections.abc import Iterator

from records.diagnosis.causes import Cause
from records.diagnosis.facts import Fact, Facts
from records.diagnosis.finding import Evidence, Finding, Strength
from trunkline.v1 import record_pb2 as pb

_STEPS = {
    pb.BACKEND_PHASE_LOST: (Cause.BACKEND_KILLED, "The stream to backend {name} broke."),
    pb.BACKEND_PHASE_ABSENT: (Cause.BACKEND_KILLED, "Backend {name} was not there."),
    pb.BACKEND_PHASE_REFUSED: (Cause.BACKEND_REFUSED, "Backend {name} did not take the call."),
}


def backend_lost(facts: Facts) -> Iterator[Finding]:
    """What the transceiver wrote down of its backend."""
    for fact in facts.of("backend"):
        known = _STEPS.get(fact.body.phase)
        if known:
            cause, sentence = known
            said = sentence.format(name=fact.body.backend or "of no name")
            yield Finding(cause, Strength.SAID, 0.9, said, _with_return(facts, fact, said))


def _with_return(facts: Facts, lost: Fact, said: str) -> tuple[Evidence, ...]:
    back = next(
        (
            one
            for one in facts.of("backend")
            if one.body.phase == pb.BACKEND_PHASE_RESTORED and one.wall_us >= lost.wall_us
        ),
        None,
    )
    found = [lost.says(said.rstrip("."))]
    if back:
        found.append(
            back.says(f"backend {back.body.backend or 'of no name'} went on with the call")
        )
    return tuple(found)
