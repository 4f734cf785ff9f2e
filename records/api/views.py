"""What the API answers with, as dataclasses: they are the JSON, and the schemas of the document.

Times ending in `_us` are Unix time in microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from records.diagnosis.media_lines import MediaLine
from records.diagnosis.story import Story
from records.diagnosis.turn_table import TurnLine
from records.diagnosis.usage import ModelUsage
from records.money.cost import Bill


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call in a list. None is not known, or did not happen (yet)."""

    call_id: str
    state: str
    tenant: str | None
    key_id: str | None
    region: str | None
    node: int | None
    backend: str | None
    model: str | None
    prompt_id: str | None
    prompt_version: str | None
    first_us: int
    last_us: int
    ended_us: int | None
    lasted_s: float | None
    end_reason: str | None
    end_cause: str | None
    turns: int | None
    turns_interrupted: int | None
    turns_failed: int | None
    v2v_p50_ms: float | None
    v2v_p95_ms: float | None
    tools: int
    tools_failed: int
    packets_from_caller: int
    packets_to_caller: int
    lost_from_caller: int
    lost_to_caller: int
    longest_gap_ms: float | None
    input_tokens: int
    output_tokens: int
    price: float
    moves: int
    faults: int
    model_faults: int
    events: int
    holes: int
    erased_us: int | None


@dataclass(frozen=True, slots=True)
class CallList:
    """One page, the newest call first; `next_cursor` is None on the last one."""

    calls: tuple[CallRow, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class CallView:
    """One call: its row, and its story with the diagnosis."""

    call: CallRow
    story: Story


@dataclass(frozen=True, slots=True)
class EventView:
    """One event. `body` has the fields of record.proto for its kind; `content` what was said."""

    source: str
    number: int
    wall_us: int
    monotonic_us: int
    origin: str
    kind: str
    body: Mapping[str, Any]
    content: str | None


@dataclass(frozen=True, slots=True)
class EventList:
    """One page in the order of time; `next_cursor` is None on the last one."""

    events: tuple[EventView, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Said:
    """One item of the conversation. `heard` is what of a truncated one the caller heard."""

    item_id: str
    at_us: int
    role: str
    type: str
    text: str | None
    final: bool
    spoken: bool
    truncated: bool
    heard: str | None
    heard_ms: float | None
    response_id: str
    tool_name: str
    tool_call_id: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """The conversation in order. `erased_us` is set when what was said was erased."""

    items: tuple[Said, ...]
    erased_us: int | None


@dataclass(frozen=True, slots=True)
class TurnList:
    """The turns of a call in order."""

    turns: tuple[TurnLine, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """One direction over `span_s` seconds that ended at `at_us`."""

    at_us: int
    direction: str
    span_s: float
    packets: int
    lost: int
    recovered: int
    concealed_ms: float
    jitter_ms: float
    round_trip_ms: float | None
    longest_silence_ms: float
    level_dbov: float | None
    late: int
    waiting_frames: int
    left_out: int


@dataclass(frozen=True, slots=True)
class MediaView:
    """The media of a call: a line for each direction, and every span."""

    lines: tuple[MediaLine, ...]
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Plumbing:
    """What the processes of Trunkline spent on a call."""

    cpu_s: float
    bytes_from_caller: int
    bytes_to_caller: int
    record_bytes: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call used. `price` is what backends said by themselves, None when none said one.

    `bill` is what it cost by the price book of the operator, who alone sees it.
    """

    usage: tuple[ModelUsage, ...]
    price: float | None
    plumbing: Plumbing
    bill: Bill | None = None


@dataclass(frozen=True, slots=True)
class Me:
    """Who asks: `role` is operator, viewer or key; `tenant` whose calls they see, None for all."""

    name: str
    role: str
    tenant: str | None
    may_erase: bool


def row_view(row: Mapping[str, Any]) -> CallRow:
    """A row of the table `calls`."""
    known = {field.name: row[field.name] for field in fields(CallRow) if field.name in row}
    return CallRow(**known, state="live" if row["ended_us"] is None else "ended")


def span_view(row: Mapping[str, Any]) -> Span:
    """A row of the table `media`."""
    known = {field.name: row[field.name] for field in fields(Span) if field.name in row}
    return Span(**known, at_us=row["wall_us"])


def said_view(row: Mapping[str, Any]) -> Said:
    """A row of the table `items` with its `content`."""
    text: str | None = row["content"]
    cut = bool(row["truncated"])
    return Said(
        item_id=row["item_id"],
        at_us=row["first_us"],
        role=row["role"],
        type=row["type"],
        text=text,
        final=bool(row["final"]),
        spoken=bool(row["audio"]),
        truncated=cut,
        heard=text[: row["heard_chars"]] if cut and text is not None else None,
        heard_ms=row["heard_ms"],
        response_id=row["response_id"],
        tool_name=row["tool_name"],
        tool_call_id=row["tool_call_id"],
    )
