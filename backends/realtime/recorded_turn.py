"""A turn of `trunkline.turn` as it is recorded. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.v1 import record_pb2 as pb

_STAGES = (
    *("ended", "heard", "first_words", "tool_started", "tool_ended"),
    *("first_sound", "sent", "out"),
)
# One after the other, each makes the next possible; tools stand between where there are any.
_LINE = ("heard", "first_words", "first_sound", "sent", "out")
_LEGS = ("rtt_ms", "jitter_buffer_ms", "client_rtt_ms", "client_jitter_buffer_ms")


def turn(told: Mapping[str, Any]) -> pb.Turn:
    """`told` has the members of the event, and in `network` perhaps those the client measured."""
    stages, network = told["stages_ms"], told["network"]
    times = {f"{stage}_ms": stages[stage] for stage in _STAGES if stage in stages}
    legs = {leg: network[leg] for leg in _LEGS if network.get(leg) is not None}
    return pb.Turn(
        turn=told["turn"],
        final=told["final"],
        item_id=told["item_id"] or "",
        response_id=told["response_id"] or "",
        speculative=told["speculative"],
        discarded=told["discarded"],
        interrupted=told["interrupted"],
        failed=told["failed"] or "",
        tools=told["tools"],
        unexplained_ms=unexplained_ms(stages),
        **times,
        **legs,
    )


def unexplained_ms(stages: Mapping[str, float]) -> float | None:
    """Of the time until the answer left, what no stage explains; None where none has left.

    That is the time over stages that were not seen, and what the first sound waited to be sent
    although the turn had ended: nothing is to be done then.
    """
    if "out" not in stages:
        return None
    unexplained, before, missing = 0.0, 0.0, False
    for stage in _LINE:
        if stage not in stages:
            missing = True
            continue
        if missing:
            unexplained += max(0.0, stages[stage] - before)
        before, missing = stages[stage], False
    if "sent" in stages and "first_sound" in stages:
        could = max(stages["first_sound"], stages.get("ended", 0.0))
        unexplained += max(0.0, stages["sent"] - could)
    return round(unexplained, 1)
