"""Tools that ran in a call, and nodes that it went to."""

from __future__ import annotations

from dataclasses import dataclass

from records.diagnosis.facts import Fact, Facts, finite
from records.diagnosis.words import word
from trunkline.v1 import record_pb2 as pb


@dataclass(frozen=True, slots=True)
class ToolLine:
    """One use of a tool. `outcome` is started while it runs, or when nobody told of its end."""

    name: str
    tool_call_id: str
    turn: int
    began_us: int
    duration_ms: float
    outcome: str
    arguments_sha256: str


@dataclass(frozen=True, slots=True)
class MoveLine:
    """One move. `kind` is planned or crash; a gap of 0 is not known."""

    at_us: int
    kind: str
    from_node: int
    to_node: int
    gap_ms: float


def tool_lines(facts: Facts) -> tuple[ToolLine, ...]:
    """Each use of a tool once, by what was told last of it."""
    newest: dict[object, Fact] = {}
    for place, fact in enumerate(facts.of("tool")):
        newest[fact.body.tool_call_id or place] = fact
    return tuple(map(_tool, newest.values()))


def move_lines(facts: Facts) -> tuple[MoveLine, ...]:
    """Each move once, as the new owner tells of it."""
    return tuple(
        MoveLine(
            at_us=one.wall_us,
            kind=word(pb.MoveKind, one.body.kind, "MOVE_KIND_"),
            from_node=one.body.from_node,
            to_node=one.body.to_node,
            gap_ms=finite(one.body.gap_ms) or 0.0,
        )
        for one in facts.of("moved")
        if one.body.kind != pb.MOVE_KIND_LEFT
    )


def _tool(fact: Fact) -> ToolLine:
    tool, duration_ms = fact.body, finite(fact.body.duration_ms) or 0.0
    return ToolLine(
        name=tool.name,
        tool_call_id=tool.tool_call_id,
        turn=tool.turn,
        began_us=fact.wall_us - int(min(duration_ms, 1e12) * 1000),
        duration_ms=duration_ms,
        outcome=word(pb.ToolOutcome, tool.outcome, "TOOL_OUTCOME_"),
        arguments_sha256=tool.arguments_sha256.hex(),
    )
