"""A call as one trace, as OTLP/HTTP takes it in JSON (POST /v1/traces).

    call ─┬─ turn 1 (invoke_agent) ─┬─ chat ─ …        gen_ai.* where the GenAI conventions v0.1.0
          │                         └─ execute_tool      have a name, trunkline.* elsewhere
          └─ turn 2 …

The trace id is the first half of the SHA-256 of the call id, so either leads to the other. What was
said is not in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from records.diagnosis.media_lines import MediaLine
from records.diagnosis.steps import ToolLine
from records.diagnosis.turn_table import TurnLine
from records.export.case import Case

INTERNAL, SERVER, CLIENT = 1, 2, 3  # SpanKind of opentelemetry-proto
ERROR = 2  # StatusCode
_USAGE = {
    "text_input_tokens": "gen_ai.usage.text.input_tokens",
    "audio_input_tokens": "gen_ai.usage.audio.input_tokens",
    "image_input_tokens": "gen_ai.usage.image.input_tokens",
    "text_cached_tokens": "gen_ai.usage.text.cache_read.input_tokens",
    "audio_cached_tokens": "gen_ai.usage.audio.cache_read.input_tokens",
    "text_output_tokens": "gen_ai.usage.text.output_tokens",
    "audio_output_tokens": "gen_ai.usage.audio.output_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
_INPUT = ("text_input", "audio_input", "image_input", "text_cached", "audio_cached")
_OUTPUT = ("text_output", "audio_output", "reasoning")

Attributes = dict[str, Any]


def trace_id(call_id: str) -> str:
    """32 hex digits."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:32]


def write_otlp(case: Case) -> bytes:
    """An ExportTraceServiceRequest in JSON."""
    resource = {"service.name": "trunkline", "service.version": case.story.head.build}
    scope = {"scope": {"name": "trunkline.records"}, "spans": list(_spans(case))}
    spans = {"resource": {"attributes": _pairs(resource)}, "scopeSpans": [scope]}
    return json.dumps({"resourceSpans": [spans]}).encode()


def _spans(case: Case) -> Iterator[dict[str, Any]]:
    story = case.story
    began_us, ended_us = story.began_us, max(story.began_us, story.last_us)
    root = _span(case, "call", "", "call", SERVER, (began_us, ended_us), _of_call(case))
    root["events"] = list(_moments(case))
    if story.ending.reason in ("failed", "lost", "refused"):
        root["status"] = {"code": ERROR, "message": story.ending.words}
    yield root
    for turn in story.turns:
        yield from _turn(case, turn)
    for place, tool in enumerate(story.tools):
        yield _tool(case, tool, place)


def _of_call(case: Case) -> Attributes:
    story, head = case.story, case.story.head
    attributes: Attributes = {
        "gen_ai.conversation.id": case.call_id,
        "gen_ai.request.model": head.model,
        "gen_ai.prompt.name": head.prompt_id,
        "gen_ai.prompt.version": head.prompt_version,
        "trunkline.call.tenant": head.tenant,
        "trunkline.call.key_id": head.key_id,
        "trunkline.call.end_reason": story.ending.reason,
        "trunkline.call.end_cause": story.ending.cause,
        "trunkline.call.diagnosis": story.diagnosis.cause,
        "trunkline.call.moves": len(story.moves),
    }
    for line in story.media:
        attributes |= _of_media(line)
    return attributes


def _of_media(line: MediaLine) -> Attributes:
    name = f"trunkline.media.{line.direction}"
    return {
        f"{name}.packets": line.packets,
        f"{name}.lost": line.lost,
        f"{name}.jitter_ms": line.jitter_ms,
        f"{name}.round_trip_ms": line.round_trip_ms,
        f"{name}.longest_gap_ms": line.longest_gap_ms,
    }


def _moments(case: Case) -> Iterator[dict[str, Any]]:
    """Moves as events of the root: they happen to the call, and in no turn."""
    for move in case.story.moves:
        told = {
            "trunkline.move.kind": move.kind,
            "trunkline.move.from_node": move.from_node,
            "trunkline.move.to_node": move.to_node,
            "trunkline.move.gap_ms": move.gap_ms,
        }
        time = str(move.at_us * 1000)
        yield {"timeUnixNano": time, "name": "trunkline.move", "attributes": _pairs(told)}


def _turn(case: Case, turn: TurnLine) -> Iterator[dict[str, Any]]:
    name = f"turn/{turn.turn}"
    until_ms = max(turn.stages.values(), default=0.0)
    span = _span(
        *(case, name, "call", "invoke_agent", INTERNAL, _within(turn, 0.0, until_ms)),
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.conversation.id": case.call_id,
            "trunkline.turn.number": turn.turn,
            "trunkline.turn.voice_to_voice_ms": turn.voice_to_voice_ms,
            "trunkline.turn.unexplained_ms": turn.unexplained_ms,
            "trunkline.turn.interrupted": turn.interrupted,
            "trunkline.turn.speculative": turn.speculative,
            **{f"trunkline.turn.{stage}_ms": ms for stage, ms in turn.stages.items()},
        },
    )
    if turn.failed:
        span["status"] = {"code": ERROR, "message": turn.failed}
    yield span
    yield _chat(case, turn, name)


def _chat(case: Case, turn: TurnLine, parent: str) -> dict[str, Any]:
    """The model's part: from the transcript to the first sound."""
    head, stages = case.story.head, turn.stages
    from_ms = stages.get("heard", 0.0)
    to_ms = max(stages.get("first_sound", from_ms), stages.get("first_words", from_ms))
    first_ms = stages.get("first_words")
    waited_s = None if first_ms is None else max(0.0, first_ms - from_ms) / 1000
    return _span(
        *(case, f"{parent}/chat", parent, f"chat {head.model}".strip(), CLIENT),
        _within(turn, from_ms, to_ms),
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.conversation.id": case.call_id,
            "gen_ai.request.model": head.model,
            "gen_ai.response.id": turn.response_id,
            "gen_ai.response.time_to_first_chunk": waited_s,
            "gen_ai.prompt.name": head.prompt_id,
            "gen_ai.prompt.version": head.prompt_version,
            **usage_attributes(turn.usage),
        },
    )


def usage_attributes(usage: Mapping[str, float]) -> Attributes:
    """Amounts by kind, and the sums of what goes in and comes out (which include their parts)."""
    told: Attributes = {name: round(usage[kind]) for kind, name in _USAGE.items() if kind in usage}
    for name, kinds in (("input", _INPUT), ("output", _OUTPUT)):
        amounts = [usage[f"{kind}_tokens"] for kind in kinds if f"{kind}_tokens" in usage]
        if amounts:
            told[f"gen_ai.usage.{name}_tokens"] = round(sum(amounts))
    return told


def _tool(case: Case, tool: ToolLine, place: int) -> dict[str, Any]:
    known = any(turn.turn == tool.turn for turn in case.story.turns)
    ended_us = tool.began_us + int(min(tool.duration_ms, 1e9) * 1000)
    span = _span(
        *(case, f"tool/{place}", f"turn/{tool.turn}" if known else "call"),
        *(f"execute_tool {tool.name}".strip(), INTERNAL, (tool.began_us, ended_us)),
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.conversation.id": case.call_id,
            "gen_ai.tool.name": tool.name,
            "gen_ai.tool.call.id": tool.tool_call_id,
            "trunkline.tool.outcome": tool.outcome,
            "trunkline.tool.arguments_sha256": tool.arguments_sha256,
        },
    )
    if tool.outcome in ("failed", "timed_out"):
        span["status"] = {"code": ERROR, "message": tool.outcome}
    return span


def _span(
    case: Case,
    name: str,
    parent: str,
    title: str,
    kind: int,
    span_us: tuple[int, int],
    attributes: Attributes,
) -> dict[str, Any]:
    """A span; `name` and `parent` are places in the call, of which the ids are made."""
    return {
        "traceId": trace_id(case.call_id),
        "spanId": _span_id(case.call_id, name),
        **({"parentSpanId": _span_id(case.call_id, parent)} if parent else {}),
        "name": title,
        "kind": kind,
        "startTimeUnixNano": str(span_us[0] * 1000),
        "endTimeUnixNano": str(max(span_us) * 1000),
        "attributes": _pairs(attributes),
    }


def _span_id(call_id: str, name: str) -> str:
    return hashlib.sha256(f"{call_id}\n{name}".encode()).hexdigest()[:16]


def _within(turn: TurnLine, from_ms: float, to_ms: float) -> tuple[int, int]:
    return tuple(turn.began_us + int(min(ms, 1e9) * 1000) for ms in (from_ms, to_ms))  # type: ignore[return-value]


def _pairs(attributes: Attributes) -> list[dict[str, Any]]:
    """Attributes as OTLP has them; what is not known is left out."""
    return [
        {"key": name, "value": _value(value)}
        for name, value in attributes.items()
        if value not in (None, "")
    ]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}  # 64 bits do not fit into a number of JSON
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": str(value)}
