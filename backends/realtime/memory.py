"""A session as a value, so that another backend can go on with its conversation.

    RealtimeSession ─ remembered ─▶ SessionMemory … JSON … SessionMemory ─ recall ─▶ RealtimeSession

Sound is not in it, nor is what a client can send again: the values are what the client was told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter

from backends.realtime.config import SessionConfig
from backends.realtime.conversation import MAX_ITEMS, Entry
from backends.realtime.events import ServerEvent
from backends.realtime.items import Item
from backends.realtime.response_events import content_of
from backends.realtime.responses import Output, Response, options_of
from backends.realtime.session import RealtimeSession
from backends.realtime.shape import Id
from backends.realtime.speech import Speech

_ITEM: TypeAdapter[Any] = TypeAdapter(Item)


def _checked(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it is shown. Raises ValueError for anything else."""
    if _ITEM.validate_python(item).id is None or item.get("status") is None:
        raise ValueError("an item has an id and a status")
    return item


MAX_PIECES = 4096  # of the words of one item
Count = Annotated[int, Field(ge=0, le=1 << 53)]
ShownItem = Annotated[dict[str, Any], AfterValidator(_checked)]


@dataclass(frozen=True)
class SpeechMemory:
    """The words of an item that was said aloud: each piece, and where in its sound it begins."""

    sent_ms: Count
    is_cut: bool
    pieces: Annotated[tuple[tuple[str, Count], ...], Field(max_length=MAX_PIECES)] = field(
        repr=False
    )


@dataclass(frozen=True)
class ItemMemory:
    """An item as the client knows it."""

    item: ShownItem = field(repr=False)
    response_id: str = ""
    speech: SpeechMemory | None = None


@dataclass(frozen=True)
class SessionMemory:
    """The session; `response_id` is of the response that is not done, "" for none.

    `pending_input_id` is of the turn that the caller is in, `playing` the response that is heard.
    """

    id: Id
    conversation_id: Id
    expires_at: Count
    config: SessionConfig = field(repr=False)
    items: Annotated[tuple[ItemMemory, ...], Field(max_length=MAX_ITEMS)] = field(repr=False)
    spoke: bool = False
    playing: str = ""
    pending_input_id: str = ""
    response_id: str = ""


def remembered(session: RealtimeSession) -> SessionMemory:
    """The session as it is now."""
    return SessionMemory(
        id=session.id,
        conversation_id=session.conversation_id,
        expires_at=session._expires_at,
        config=session.config,
        items=tuple(_item(session, entry) for entry in session.conversation.entries),
        spoke=session._spoke,
        playing=session._playing,
        pending_input_id=session._pending_input_id,
        response_id=session.active.id if session.active else "",
    )


def cut(
    session: RealtimeSession, item_id: str, heard_ms: int, ms_per_char: float
) -> list[ServerEvent]:
    """Of an item that was being said only so much was heard (`Speech.expect`): the events."""
    entry = session.conversation.get(item_id)
    if entry is None or entry.speech is None or entry.speech.is_cut:
        return []
    entry.speech.expect(ms_per_char)
    entry.speech.sent_ms = max(entry.speech.sent_ms, heard_ms)
    return [session.truncated(entry, heard_ms)]


def recall(session: RealtimeSession, memory: SessionMemory) -> list[ServerEvent]:
    """Be that session from here on. A response that was not done ends as incomplete: its events."""
    session.id, session.conversation_id = memory.id, memory.conversation_id
    session._expires_at, session.config = memory.expires_at, memory.config
    session._refused_at_start = None
    session._spoke, session._playing = memory.spoke, memory.playing
    session._pending_input_id = memory.pending_input_id
    for kept in memory.items:
        session.conversation.add(_entry(kept))
    if not memory.response_id:
        return []
    return _end_response(session, memory.response_id)


def _end_response(session: RealtimeSession, response_id: str) -> list[ServerEvent]:
    response = Response(response_id, options_of(session.config), session.conversation_id)
    entries = [e for e in session.conversation.entries if e.response_id == response_id]
    response.outputs = [
        Output(entry, number, _kind(entry), [_text(entry)]) for number, entry in enumerate(entries)
    ]
    last = response.outputs[-1] if response.outputs else None
    response.open = last if last and last.entry.item["status"] == "in_progress" else None
    session.active = session._latest = response
    return session.response_done("incomplete")


def _item(session: RealtimeSession, entry: Entry) -> ItemMemory:
    output = session.active.open if session.active else None
    item = entry.item
    if output is not None and output.entry is entry:
        if output.kind == "function_call":
            item = {**item, "arguments": output.text}
        else:
            item = {**item, "content": [content_of(output)]}
    speech = entry.speech
    kept = SpeechMemory(speech.sent_ms, speech.is_cut, tuple(speech.pieces)) if speech else None
    return ItemMemory(item, entry.response_id, kept)


def speech_of(kept: ItemMemory) -> Speech | None:
    """The words of an item that was said aloud, as they were then."""
    return None if kept.speech is None else speech_from(kept.speech)


def speech_from(said: SpeechMemory) -> Speech:
    """The words, and where in the sound they are."""
    return Speech(0, said.sent_ms, said.is_cut, list(said.pieces))


def _entry(kept: ItemMemory) -> Entry:
    return Entry(dict(kept.item), speech_of(kept), kept.response_id)


def _kind(entry: Entry) -> Any:
    if entry.item["type"] == "function_call":
        return "function_call"
    return "output_audio" if entry.speech is not None else "output_text"


def _text(entry: Entry) -> str:
    if entry.item["type"] == "function_call":
        return str(entry.item["arguments"])
    parts = entry.item.get("content", ())
    return "".join(str(part.get("text") or part.get("transcript") or "") for part in parts)
