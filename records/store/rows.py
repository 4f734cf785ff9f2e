"""From an envelope to what is stored of it. Pure.

What cannot be read is not stored: `read` says so with Unreadable, and the recorder counts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from google.protobuf.message import DecodeError

from fleet.record.chain import content_hash
from trunkline.v1 import record_pb2 as pb

US_PER_DAY = 86_400 * 1_000_000
MAX_NAME_CHARS = 200  # of a call id and a source
MAX_EVENT_BYTES = 64 * 1024
_LARGEST = 2**63 - 1
_LAST_DAY = 100_000  # in the year 2243: a clock that is wrong must not make a day of its own


class Unreadable(ValueError):  # noqa: N818 - says what it is
    """No event of ours."""


class Word(Enum):
    """Enums of record.proto whose values are stored as words: `END_REASON_HANGUP` as `hangup`."""

    END_REASON = pb.EndReason
    CAUSE = pb.Cause
    DIRECTION = pb.Direction
    ROLE = pb.Role
    TOOL_OUTCOME = pb.ToolOutcome
    USAGE_KIND = pb.UsageKind

    def of(self, number: int) -> str:
        """The word, or the number itself when a later version has given it."""
        known = self.value.DESCRIPTOR.values_by_number.get(number)
        return known.name.removeprefix(f"{self.name}_").lower() if known else str(number)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event that was read, its bytes and its content beside it."""

    event: pb.Event
    kind: str
    body: bytes
    salt: bytes
    content: str

    @property
    def key(self) -> tuple[str, str, int]:
        """Which event it is."""
        return self.event.call_id, self.event.source, self.event.number

    @property
    def day(self) -> int:
        """Days since 1970."""
        return min(max(0, self.event.wall_us // US_PER_DAY), _LAST_DAY)


def read(envelope: pb.Envelope) -> Recorded:
    """The event of an envelope. Raises Unreadable."""
    try:
        event = pb.Event.FromString(envelope.event)
    except DecodeError:
        raise Unreadable("no event") from None
    if not _is_name(event.call_id) or not _is_name(event.source):
        raise Unreadable("no event of a call")
    if not 0 < event.number <= _LARGEST or len(envelope.event) > MAX_EVENT_BYTES:
        raise Unreadable("no event that can be kept")
    if content_hash(envelope.salt, envelope.content) != event.content_hash:
        raise Unreadable("not the content of this event")
    kind = event.WhichOneof("body") or "unknown"
    return Recorded(event, kind, envelope.event, envelope.salt, plain(envelope.content))


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME_CHARS and "\0" not in text


def plain(text: str) -> str:
    """A text as Postgres takes it: without NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text


def event_row(one: Recorded) -> dict[str, Any]:
    """Of the table `events`."""
    event = one.event
    return {
        "call_id": event.call_id,
        "source": event.source,
        "number": event.number,
        "day": one.day,
        "wall_us": event.wall_us,
        "kind": one.kind,
        "body": one.body,
    }


def content_row(one: Recorded) -> dict[str, Any]:
    """Of the table `contents`."""
    return {**_key(one), "day": one.day, "salt": one.salt, "content": one.content}


def media_row(one: Recorded) -> dict[str, Any]:
    """Of the table `media`."""
    media = one.event.media
    return {
        **_key(one),
        "day": one.day,
        "wall_us": one.event.wall_us,
        "direction": Word.DIRECTION.of(media.direction),
        "span_s": media.span_s,
        "packets": media.packets,
        "lost": media.lost,
        "recovered": media.recovered,
        "concealed_ms": media.concealed_ms,
        "jitter_ms": media.jitter_ms,
        "round_trip_ms": _optional(media, "round_trip_ms"),
        "longest_silence_ms": media.longest_silence_ms,
        "level_dbov": _optional(media, "level_dbov"),
        "late": media.late,
        "waiting_frames": media.waiting_frames,
        "left_out": media.left_out,
    }


_STAGES = (
    *("ended_ms", "heard_ms", "first_words_ms", "tool_started_ms", "tool_ended_ms"),
    *("first_sound_ms", "sent_ms", "out_ms", "unexplained_ms", "rtt_ms", "jitter_buffer_ms"),
    *("client_rtt_ms", "client_jitter_buffer_ms"),
)


def turn_row(one: Recorded) -> dict[str, Any]:
    """Of the table `turns`; `tools` are names with a space between."""
    turn = one.event.turn
    return {
        "call_id": one.event.call_id,
        "turn": turn.turn,
        "wall_us": one.event.wall_us,
        "final": turn.final,
        "item_id": plain(turn.item_id),
        "response_id": plain(turn.response_id),
        **{stage: _optional(turn, stage) for stage in _STAGES},
        "speculative": turn.speculative,
        "discarded": turn.discarded,
        "interrupted": turn.interrupted,
        "failed": plain(turn.failed),
        "tools": plain(" ".join(turn.tools)),
    }


def item_row(one: Recorded) -> dict[str, Any]:
    """Of the table `items`; `source` and `number` name its content, when it has some."""
    item, has_content = one.event.item, bool(one.salt)
    return {
        "call_id": one.event.call_id,
        "item_id": plain(item.item_id),
        "first_us": one.event.wall_us,
        "told_us": one.event.wall_us,
        "role": Word.ROLE.of(item.role),
        "type": plain(item.type),
        "response_id": plain(item.response_id),
        "final": item.final,
        "audio": item.audio,
        "truncated": item.truncated,
        "heard_ms": _optional(item, "heard_ms"),
        "heard_chars": item.heard_chars,
        "tool_name": plain(item.tool_name),
        "tool_call_id": plain(item.tool_call_id),
        "source": one.event.source if has_content else None,
        "number": one.event.number if has_content else None,
    }


def usage_rows(one: Recorded) -> Iterator[dict[str, Any]]:
    """Of the table `usages`, one a kind; kinds of one report are added up."""
    usage, amounts = one.event.usage, dict[str, float]()
    for each in usage.amounts:
        kind = Word.USAGE_KIND.of(each.kind)
        amounts[kind] = amounts.get(kind, 0.0) + each.amount
    for kind, amount in amounts.items():
        yield {
            **_key(one),
            "kind": kind,
            "wall_us": one.event.wall_us,
            "provider": plain(usage.provider),
            "model": plain(usage.model),
            "response_id": plain(usage.response_id),
            "amount": amount,
        }


def tool_row(one: Recorded) -> dict[str, Any]:
    """Of the table `tools`."""
    tool = one.event.tool
    return {
        **_key(one),
        "wall_us": one.event.wall_us,
        "name": plain(tool.name),
        "tool_call_id": plain(tool.tool_call_id),
        "response_id": plain(tool.response_id),
        "turn": tool.turn,
        "arguments_sha256": tool.arguments_sha256.hex(),
        "duration_ms": tool.duration_ms,
        "outcome": Word.TOOL_OUTCOME.of(tool.outcome),
    }


def _key(one: Recorded) -> dict[str, Any]:
    event = one.event
    return {
        "call_id": event.call_id,
        "source": event.source,
        "number": event.number,
    }


def _optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None
