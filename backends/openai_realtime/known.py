"""What a conversation upstream is known to be, and how a new session is told of it. Pure.

    events both ways ─▶ Known ─▶ openings: session.update, conversation.item.create …
                          └────▶ write ─▶ bytes ─▶ read, in the backend that goes on

A provider ends its sessions (after 60 minutes, or 10, or 8), and connections break. A session knows
nothing of the one before, so all that the caller was told must be said to it again: settings and
items. Sound cannot be brought along: what the caller said is told in the words of its transcript.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import structlog
from pydantic import Field, TypeAdapter, ValidationError

from backends.agent.played import FRAME_MS, Run
from backends.realtime.conversation import MAX_CHARS, MAX_ITEMS, Conversation, Entry
from backends.realtime.memory import MAX_PIECES, SpeechMemory, speech_from
from backends.realtime.speech import Speech
from trunkline.backend import Call
from trunkline.backend.restored import MAX_SNAPSHOT_BYTES

VERSION: Literal[1] = 1
MAX_SESSION_CHARS = 192 * 1024
MS_PER_CHAR = 75.0  # of words whose sound has not come whole
ADDED = frozenset({"conversation.item.added", "conversation.item.created"})
DONE = frozenset({"conversation.item.done", "response.output_item.done"})
_TEXTS = ("text", "transcript")
log = structlog.get_logger(__name__)
_MERGED = frozenset({(), ("audio",), ("audio", "input"), ("audio", "output")})


class KnownUnreadable(Exception):  # noqa: N818 - a verdict on foreign bytes
    """Bytes that are no conversation of this version; the text quotes none of them."""


@dataclass(frozen=True)
class KnownItem:
    """An item, and what was said aloud of it."""

    item: dict[str, Any] = field(repr=False)
    speech: SpeechMemory | None = None


@dataclass(frozen=True)
class KnownMemory:
    """A conversation as a value. `run` is what was sent last to the caller, of `said_item`."""

    session: dict[str, Any] = field(repr=False)
    items: Annotated[tuple[KnownItem, ...], Field(max_length=MAX_ITEMS)] = field(repr=False)
    active: Annotated[str, Field(max_length=256)]
    said_item: str
    run: Run | None
    version: Literal[1] = VERSION


_ADAPTER: TypeAdapter[KnownMemory] = TypeAdapter(KnownMemory)


class Known:
    """Of one call. Never raises, whatever the events say."""

    def __init__(self) -> None:
        self.session: dict[str, Any] = {}
        self.active = ""  # the response that is running upstream
        self.speaking = False  # the caller is, as upstream hears it
        self._begun = False  # the response that is running has said something
        self._conversation = Conversation()

    @property
    def quiet(self) -> bool:
        """Whether nobody's turn is under way: a boundary at which a session may be changed."""
        return not self.active and not self.speaking

    # What is said.

    def told(self, event: Mapping[str, Any]) -> None:
        """An event that goes up."""
        session = event.get("session")
        if event.get("type") == "session.update" and isinstance(session, dict):
            merged = _merge(self.session, session, ())
            if len(json.dumps(merged)) <= MAX_SESSION_CHARS:
                self.session = merged

    def heard(self, event: Mapping[str, Any]) -> bool:
        """An event that came down; whether the conversation is not what it was."""
        kind, item = str(event.get("type")), event.get("item")
        if kind in ADDED and isinstance(item, dict):
            self._add(item, event.get("previous_item_id"))
        elif kind in DONE and isinstance(item, dict):
            self._done(item)
        elif kind == "conversation.item.deleted":
            self._conversation.remove(str(event.get("item_id")))
        elif kind == "conversation.item.truncated":
            self.cut(str(event.get("item_id")), event.get("audio_end_ms"))
        elif kind == "conversation.item.input_audio_transcription.completed":
            self._write(event, event.get("transcript"))
        elif kind == "response.output_audio_transcript.delta":
            self._say(event)
        else:
            return self._turn(kind, event)
        return True

    def sounded(self, item_id: str, duration_ms: int) -> None:
        """Sound of an item came down."""
        entry = self._conversation.get(item_id)
        if entry is not None:
            entry.speech = entry.speech or Speech()
            entry.speech.queued_ms += duration_ms

    def cut_short(self, item_id: str, heard_ms: int) -> None:
        """The same, where the last words may not have come with all their sound."""
        entry = self._conversation.get(item_id)
        if entry is not None and entry.speech is not None and self.active:
            entry.speech.expect(MS_PER_CHAR)
        self.cut(item_id, heard_ms)

    def cut(self, item_id: str, heard_ms: object) -> None:
        """Of an item that is said aloud only so much was heard."""
        entry = self._conversation.get(item_id)
        if entry is None or entry.speech is None or not isinstance(heard_ms, int):
            return
        if entry.speech.is_cut or heard_ms < 0:
            return
        entry.item["content"] = [{"type": "output_audio", "transcript": entry.speech.cut(heard_ms)}]
        self._conversation.changed(entry)

    def lost(self) -> bool:
        """The session is gone, and what was under way with it; whether an answer had begun."""
        begun, self._begun = self._begun, False
        self.active, self.speaking = "", False
        return begun

    def heard_ms(self, memory: KnownMemory, frames: int) -> int | None:
        """Of what was being said, when `frames` of the call have left; None: all that came."""
        entry = self._conversation.get(memory.said_item)
        if memory.run is None or entry is None or entry.speech is None or entry.speech.is_cut:
            return None
        heard_ms = (memory.run.before + max(0, frames - memory.run.first)) * FRAME_MS
        return heard_ms if memory.active or heard_ms < entry.speech.sent_ms else None

    # What a new session is told.

    def openings(self) -> list[dict[str, Any]]:
        """Events for upstream, in order."""
        told = map(_current, self._conversation.entries)
        created = [made for item in told if (made := _created(item)) is not None]
        return [
            {"type": "session.update", "session": self.session},
            *({"type": "conversation.item.create", "item": item} for item in created),
        ]

    def export(self, said_item: str, run: Run | None) -> bytes:
        """As bytes; the oldest items leave where it is too much, b"" where it is too much still."""
        entries = self._conversation.entries
        items = [KnownItem(_plain(_current(e)), _kept(e.speech)) for e in entries]
        while True:
            memory = KnownMemory(self.session, tuple(items), self.active, said_item, run)
            written = _ADAPTER.dump_json(memory)
            if len(written) <= MAX_SNAPSHOT_BYTES:
                return written
            if not items:
                return b""
            del items[: len(items) - min(len(items) - 1, _fitting(len(items), len(written)))]

    def recall(self, memory: KnownMemory) -> None:
        """Be the conversation of a backend that is lost."""
        self.session = memory.session
        for kept in memory.items:
            if not isinstance(kept.item.get("id"), str):
                continue
            speech = None if kept.speech is None else speech_from(kept.speech)
            self._conversation.remove(kept.item["id"])
            self._conversation.add(Entry(dict(kept.item), speech))
        self._conversation.overflow(keep=None)
        self.active = memory.active
        said = self._conversation.get(memory.said_item)
        self._begun = bool(said is not None and said.speech and said.speech.text)

    # Inside.

    def _turn(self, kind: str, event: Mapping[str, Any]) -> bool:
        if kind == "response.created":
            response = event.get("response")
            self.active = str(response.get("id")) if isinstance(response, dict) else "?"
            self._begun = False
        elif kind == "response.done":
            self.active = ""
        elif kind == "input_audio_buffer.speech_started":
            self.speaking = True
        elif kind in {"input_audio_buffer.speech_stopped", "input_audio_buffer.committed"}:
            self.speaking = False
        else:
            return False
        return True

    def _add(self, item: dict[str, Any], previous: object) -> None:
        item_id = item.get("id")
        if not isinstance(item_id, str) or len(json.dumps(item)) > MAX_CHARS // 4:
            return
        known = previous if isinstance(previous, str) and self._conversation.get(previous) else None
        if self._conversation.get(item_id) is None:
            self._conversation.add(Entry(dict(item)), known)
            self._conversation.overflow(keep=item_id)

    def _done(self, item: dict[str, Any]) -> None:
        entry = self._conversation.get(str(item.get("id")))
        if entry is None:
            self._add(item, None)
        elif not (entry.speech is not None and entry.speech.is_cut):
            entry.item = {**item, "content": _fuller(entry.item, item)} if _parts(item) else item
            self._conversation.changed(entry)

    def _write(self, event: Mapping[str, Any], text: object) -> None:
        entry = self._conversation.get(str(event.get("item_id")))
        if entry is not None and isinstance(text, str):
            entry.item["content"] = [{"type": "input_audio", "transcript": text}]
            self._conversation.changed(entry)

    def _say(self, event: Mapping[str, Any]) -> None:
        entry, delta = self._conversation.get(str(event.get("item_id"))), event.get("delta")
        if entry is None or not isinstance(delta, str):
            return
        self._begun = True
        entry.speech = entry.speech or Speech()
        if len(entry.speech.pieces) < MAX_PIECES:
            entry.speech.say(delta)


def read(written: bytes) -> KnownMemory:
    """What `Known.export` wrote. Raises KnownUnreadable for anything else."""
    if len(written) > MAX_SNAPSHOT_BYTES:
        raise KnownUnreadable(f"more than {MAX_SNAPSHOT_BYTES} bytes")
    try:
        return _ADAPTER.validate_json(written)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in problem["loc"] if not isinstance(part, int))
        raise KnownUnreadable(f"{where or 'conversation'}: {problem['type']}") from None


def recalled(call: Call) -> KnownMemory | None:
    """What a lost backend remembered of this call; None where that is nothing, or foreign."""
    if call.restored is None:
        return None
    told = {"call_id": call.id, "losses": call.restored.losses, "gap_ms": call.restored.gap_ms}
    try:
        memory = read(call.restored.snapshot)
    except KnownUnreadable as error:
        log.warning("conversation_not_restored", reason=str(error), **told)
        return None
    log.info("conversation_restored", items=len(memory.items), **told)
    return memory


def _fitting(items: int, size_bytes: int) -> int:
    return items * MAX_SNAPSHOT_BYTES // size_bytes


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """An item without sound."""
    if not _parts(item):
        return item
    kept = [{key: part[key] for key in part if key != "audio"} for part in _parts(item)]
    return {**item, "content": kept}


def _current(entry: Entry) -> dict[str, Any]:
    """An item with the words that were said of it so far."""
    speech = entry.speech
    if speech is None or speech.is_cut or len(speech.text) <= len(_words(entry.item)):
        return entry.item
    return {**entry.item, "content": [{"type": "output_audio", "transcript": speech.text}]}


def _kept(speech: Speech | None) -> SpeechMemory | None:
    if speech is None:
        return None
    return SpeechMemory(speech.queued_ms, speech.is_cut, tuple(speech.pieces))


def _parts(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = item.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _words(item: Mapping[str, Any]) -> str:
    texts = (part.get(name) for part in _parts(item) for name in _TEXTS)
    return " ".join(text for text in texts if isinstance(text, str) and text)


def _fuller(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The content that says more: a transcript may come before the item is done, or after."""
    return _parts(new) if len(_words(new)) >= len(_words(old)) else _parts(old)


def _created(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """An item as conversation.item.create takes it; None for what cannot be said again."""
    names = {
        "function_call": ("id", "type", "name", "call_id", "arguments"),
        "function_call_output": ("id", "type", "call_id", "output"),
    }.get(str(item.get("type")))
    if names is not None:
        return {name: item[name] for name in names if name in item}
    words, role = _words(item), item.get("role")
    if item.get("type") != "message" or not words:
        return None
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": words}]
    return {"id": item["id"], "type": "message", "role": role, "content": content}


def _merge(old: Any, new: Any, path: tuple[str, ...]) -> Any:
    if path not in _MERGED or not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: _merge(old.get(key), new[key], (*path, key)) for key in new}}
