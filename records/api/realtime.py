"""`/v1/realtime/calls/{id}` for clients of OpenAI: a call, and its conversation as their items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from records.api.views import Said, said_view
from records.store import reading
from records.store.database import Connection

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class RealtimeCall:
    """One call. Times are Unix seconds, as in OpenAI's objects; None did not happen yet."""

    object: str
    id: str
    status: str
    created_at: int
    ended_at: int | None
    duration_seconds: float | None
    end_reason: str | None
    model: str | None
    prompt: Mapping[str, str] | None
    usage: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RealtimeItem:
    """One item, as `conversation.item.created` has it, with its time and what was heard of it."""

    id: str
    object: str
    type: str
    status: str
    role: str | None
    content: tuple[Mapping[str, str | None], ...]
    name: str | None
    call_id: str | None
    arguments: str | None
    output: str | None
    response_id: str | None
    created_at_ms: int
    heard_ms: float | None


@dataclass(frozen=True, slots=True)
class RealtimeTranscript:
    """The ordered items of one call."""

    object: str
    call_id: str
    data: tuple[RealtimeItem, ...]


def call(_connection: Connection, row: dict[str, Any]) -> RealtimeCall:
    """A call as that API would show it."""
    prompt = {"id": row["prompt_id"], "version": row["prompt_version"] or ""}
    ended_us = row["ended_us"]
    return RealtimeCall(
        object="realtime.call",
        id=row["call_id"],
        status="in_progress" if ended_us is None else "completed",
        created_at=row["first_us"] // _US,
        ended_at=None if ended_us is None else ended_us // _US,
        duration_seconds=row["lasted_s"],
        end_reason=row["end_reason"],
        model=row["model"],
        prompt=prompt if row["prompt_id"] else None,
        usage={
            "input_tokens": row["input_tokens"],
            "output_tokens": row["output_tokens"],
            "total_tokens": row["input_tokens"] + row["output_tokens"],
        },
    )


def transcript(connection: Connection, row: dict[str, Any]) -> RealtimeTranscript:
    """The conversation of a call."""
    items = map(said_view, reading.transcript(connection, row["call_id"]))
    return RealtimeTranscript("list", row["call_id"], tuple(map(_item, items)))


def _item(said: Said) -> RealtimeItem:
    is_call, is_output = said.type == "function_call", said.type == "function_call_output"
    is_message = not (is_call or is_output)
    return RealtimeItem(
        id=said.item_id,
        object="realtime.item",
        type=said.type or "message",
        status="incomplete" if said.truncated or not said.final else "completed",
        role=said.role if is_message else None,
        content=(_part(said),) if is_message else (),
        name=said.tool_name if is_call else None,
        call_id=None if is_message else said.tool_call_id,
        arguments=said.text if is_call else None,
        output=said.text if is_output else None,
        response_id=said.response_id or None,
        created_at_ms=said.at_us // 1000,
        heard_ms=said.heard_ms,
    )


def _part(said: Said) -> Mapping[str, str | None]:
    way = "output" if said.role == "assistant" else "input"
    if said.spoken:
        return {"type": f"{way}_audio", "transcript": said.text}
    return {"type": f"{way}_text", "text": said.text}
