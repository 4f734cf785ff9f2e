"""A caller from whom no packets come although the call is up."""

from __future__ import annotations

import math
from collections.abc import Iterator

from records.diagnosis.causes import Cause
from records.diagnosis.facts import Fact, Facts, finite, shown_ms
from records.diagnosis.finding import Finding, Strength
from trunkline.v1 import record_pb2 as pb

# A muted microphone still sends, and DTX sends every 400 ms. A network that stands still for 3 s is
# rare; a page in the background, a closed lid or a taken microphone lasts longer.
STOPPED_MS = 3_000
LONG_MS = 30_000  # beyond it nothing is worse


def stopped_sending(facts: Facts) -> Iterator[Finding]:
    """Gaps and spans without packets from a caller who is there, and consent that expired."""
    first_us = _first_sound_us(facts)
    for fact in (*facts.of("gap"), *facts.of("media")):
        silent_ms = _silent_ms(fact, fact.wall_us > first_us)
        if silent_ms >= STOPPED_MS:
            words = f"no packet from the caller for {shown_ms(silent_ms)}"
            sentence = f"The caller's browser stopped sending: {words}."
            severity = min(1.0, silent_ms / LONG_MS)
            evidence = (fact.says(words),)
            yield Finding(Cause.BROWSER_STOPPED, Strength.MEASURED, severity, sentence, evidence)
    for fact in facts.of("ice"):
        if fact.body.phase == pb.ICE_PHASE_CONSENT_EXPIRED:
            sentence = "The caller answered no connectivity check any more."
            evidence = (fact.says("ICE consent expired"),)
            yield Finding(Cause.BROWSER_STOPPED, Strength.SAID, 0.9, sentence, evidence)


def _silent_ms(fact: Fact, sent_before: bool) -> float:
    """How long the caller sent nothing: a gap that the network made is another matter.

    A span without a packet counts when there were some before it: who never sent did not stop.
    """
    if fact.body.direction != pb.DIRECTION_FROM_CALLER:
        return 0.0
    if fact.kind == "gap":
        by_network = fact.body.kind in (pb.GAP_KIND_LOST, pb.GAP_KIND_DELAYED)
        return 0.0 if by_network else finite(fact.body.length_ms) or 0.0
    empty = sent_before and fact.body.packets == 0
    return finite(fact.body.longest_silence_ms) or 0.0 if empty else 0.0


def _first_sound_us(facts: Facts) -> float:
    """When the caller was first known to have sent."""
    came = (
        one.wall_us
        for one in facts.of("media")
        if one.body.direction == pb.DIRECTION_FROM_CALLER and one.body.packets
    )
    return next(came, math.inf)
