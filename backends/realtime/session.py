"""One Realtime session: client events in, server events and commands out.

    session ─ config        what session.update changes
            ├ conversation  items, bounded
            ├ active        the response that is running, at most one
            └ input clock   milliseconds heard, so that commits and offsets can be checked

Everything here is about the protocol. Who speaks, when a turn ends and what is answered is the
agent's business: it calls a method for each thing that happens and sends the events it is given.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from backends.realtime import client_events as ask
from backends.realtime import refusals
from backends.realtime.client_events import ClientEvent, ItemReference, ResponseParameters
from backends.realtime.commands import (
    AppendAudio,
    CancelResponse,
    ClearInput,
    ClearOutput,
    Command,
    CommitInput,
    CreateItem,
    CreateResponse,
    DeleteItem,
    NoteClientNetwork,
    TruncateItem,
    UpdateSession,
)
from backends.realtime.config import SessionConfig
from backends.realtime.conversation import MAX_CHARS, MAX_ITEMS, Conversation, Entry, JsonItem
from backends.realtime.events import ServerEvent, new_id, server_event
from backends.realtime.initial import read_initial
from backends.realtime.page import ANYBODY, Page
from backends.realtime.refusals import Refusal
from backends.realtime.reported_turns import ReportedTurns
from backends.realtime.response_events import ResponseEvents
from backends.realtime.responses import (
    Response,
    ResponseOptions,
    options_of,
    shown_choice,
    shown_tools,
    token_limit,
    voice_name,
)

SHORTEST_COMMIT_MS = 100  # as OpenAI's API demands
PCM24K_BYTES_PER_MS = 48
SESSION_S = 3600  # what `expires_at` says; their sessions last an hour


@dataclass(frozen=True)
class Reaction:
    """What follows from one client event: events to send, in order, then commands to obey."""

    events: list[ServerEvent] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)


class RealtimeSession(ResponseEvents):
    """The session of one call.

    `session_json` is what the caller sent with its offer ("" for nothing), `defaults` the members
    of the configuration that differ from the API's own defaults, `page_may_set` what the caller may
    set, if it is a page (`fleet.page_policy`). Events are returned, never sent.
    """

    def __init__(
        self,
        session_json: str = "",
        defaults: Mapping[str, Any] | None = None,
        *,
        page_may_set: Collection[str] | None = None,
        max_items: int = MAX_ITEMS,
        max_chars: int = MAX_CHARS,
        unix_s: float | None = None,
    ) -> None:
        super().__init__(Conversation(max_items, max_chars))
        self.id = new_id("sess")
        self._page = Page(page_may_set, session_json)
        self.config, self._refused_at_start = read_initial(session_json, defaults or {})
        self._expires_at = int(time.time() if unix_s is None else unix_s) + SESSION_S
        self._reported_turns = ReportedTurns()
        self._unfinished_ms: Mapping[str, int] = {}
        self._pending_input_id = ""  # of the turn that speech_started announced
        self._buffered_ms = 0.0  # heard since the last commit
        self._handlers: dict[type[ClientEvent], Callable[[Any], Reaction]] = {
            ask.SessionUpdate: self._update_session,
            ask.InputAudioBufferAppend: self._append_input,
            ask.InputAudioBufferCommit: self._commit_input,
            ask.InputAudioBufferClear: self._clear_input,
            ask.OutputAudioBufferClear: self._clear_output,
            ask.ConversationItemCreate: self._create_item,
            ask.ConversationItemRetrieve: self._retrieve_item,
            ask.ConversationItemTruncate: self._truncate_item,
            ask.ConversationItemDelete: self._delete_item,
            ask.ResponseCreate: self._create_response,
            ask.ResponseCancel: self._cancel_response,
            ask.ClientReport: self._client_report,
        }

    # What the client says.

    def opened(self) -> list[ServerEvent]:
        """The client is there: what it is told first."""
        created = server_event("session.created", session=self._shown_session())
        refused = self._refused_at_start
        return [created, server_event("error", error=refused.shown())] if refused else [created]

    def client_event(
        self,
        text: str,
        unfinished_ms: Mapping[str, int] | None = None,
        *,
        from_server: bool = False,
    ) -> Reaction:
        """Obey one client event. Never raises, whatever the text; what is wrong is answered.

        `unfinished_ms` says of each item whose sound is on its way how much has left so far;
        `from_server`: the application's server says it, and not the caller.
        """
        self._unfinished_ms = unfinished_ms or {}
        event_id: object = None
        try:
            event = ask.parse(text, ANYBODY if from_server else self._page)
            event_id = event.event_id
            return self._handlers[type(event)](event)
        except Refusal as refusal:
            return Reaction([server_event("error", error=refusal.about(event_id).shown())])

    def _update_session(self, event: ask.SessionUpdate) -> Reaction:
        self._check_voice(event.session)
        try:
            self.config = self.config.merged(event.session)
        except ValidationError as error:
            raise refusals.from_validation(error, {}, "session") from None
        updated = server_event("session.updated", session=self._shown_session())
        return Reaction([updated], [UpdateSession(self.config)])

    def _check_voice(self, update: SessionConfig) -> None:
        output = update.audio.output
        if "voice" not in output.model_fields_set or not self._spoke:
            return
        if voice_name(output.voice) != voice_name(self.config.audio.output.voice):
            message = "Cannot update a conversation's voice if assistant audio is present."
            raise Refusal("cannot_update_voice", message, "session.audio.output.voice")

    def _append_input(self, event: ask.InputAudioBufferAppend) -> Reaction:
        pcm = _decoded(event.audio, "audio")
        self.input_audio(len(pcm) / PCM24K_BYTES_PER_MS)
        return Reaction([], [AppendAudio(pcm)])

    def _commit_input(self, _event: ask.InputAudioBufferCommit) -> Reaction:
        if self._buffered_ms < SHORTEST_COMMIT_MS:
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{SHORTEST_COMMIT_MS}ms of audio, but buffer only has {self._buffered_ms:.2f}ms "
                "of audio."
            )
            raise Refusal("input_audio_buffer_commit_empty", message)
        item_id, events = self.input_committed()
        return Reaction(events, [CommitInput(item_id)])

    def _clear_input(self, _event: ask.InputAudioBufferClear) -> Reaction:
        self._buffered_ms = 0.0
        self._pending_input_id = ""
        return Reaction([server_event("input_audio_buffer.cleared")], [ClearInput()])

    def _clear_output(self, _event: ask.OutputAudioBufferClear) -> Reaction:
        return Reaction([], [ClearOutput()])

    def _create_item(self, event: ask.ConversationItemCreate) -> Reaction:
        given = _shown_item(event.item.model_dump(mode="json", exclude_none=True))
        self.conversation.check_new(given, event.previous_item_id)
        stored = _without_audio(given)
        events = self._added(Entry(stored), event.previous_item_id)
        previous = events[0]["previous_item_id"]
        done = server_event("conversation.item.done", previous_item_id=previous, item=stored)
        events.insert(1, done)
        return Reaction(events, [CreateItem(given, previous)])

    def _retrieve_item(self, event: ask.ConversationItemRetrieve) -> Reaction:
        item = self.conversation.find(event.item_id, "retrieve").item
        return Reaction([server_event("conversation.item.retrieved", item=item)])

    def _truncate_item(self, event: ask.ConversationItemTruncate) -> Reaction:
        entry = self.conversation.find(event.item_id, "truncate")
        if entry.speech is None:
            message = "Only model output audio messages can be truncated"
            raise Refusal("unsupported_content_type", message, "item_id")
        if event.content_index:
            message = "Invalid 'content_index': the item has one content part."
            raise Refusal("invalid_value", message, "content_index")
        sent_ms = self._unfinished_ms.get(event.item_id, entry.speech.sent_ms)
        if event.audio_end_ms > sent_ms:
            message = f"Audio content of {sent_ms}ms is already shorter than {event.audio_end_ms}ms"
            raise Refusal("invalid_value", message, "audio_end_ms")
        truncated = self.truncated(entry, event.audio_end_ms)
        text = entry.item["content"][0]["transcript"]
        return Reaction([truncated], [TruncateItem(event.item_id, event.audio_end_ms, text)])

    def _delete_item(self, event: ask.ConversationItemDelete) -> Reaction:
        self.conversation.find(event.item_id, "delete")
        self.conversation.remove(event.item_id)
        deleted = server_event("conversation.item.deleted", item_id=event.item_id)
        return Reaction([deleted], [DeleteItem(event.item_id)])

    def _create_response(self, event: ask.ResponseCreate) -> Reaction:
        if self.active is not None:
            message = (
                "Conversation already has an active response in progress: "
                f"{self.active.id}. Wait until the response is finished before creating a new one."
            )
            raise Refusal("conversation_already_has_active_response", message)
        options = self._options(event.response or ResponseParameters())
        response = Response(new_id("resp"), options, self.conversation_id)
        return Reaction(self._created(response), [CreateResponse(response.id, options)])

    def _cancel_response(self, event: ask.ResponseCancel) -> Reaction:
        if self.active is None or event.response_id not in (None, self.active.id):
            message = "Cancellation failed: no active response found"
            raise Refusal("response_cancel_not_active", message)
        return Reaction([], [CancelResponse(self.active.id)])

    def _client_report(self, event: ask.ClientReport) -> Reaction:
        told = self._reported_turns.report(event)
        noted = NoteClientNetwork(event.turn, event.rtt_ms, event.jitter_buffer_ms)
        return Reaction([told], [noted])

    def _options(self, given: ResponseParameters) -> ResponseOptions:
        options = options_of(self.config)
        output = given.audio.output if given.audio else None
        changes: dict[str, Any] = {
            "instructions": given.instructions,
            "modality": given.output_modalities[0] if given.output_modalities else None,
            "voice": voice_name(output.voice) if output and output.voice else None,
            "tools": None if given.tools is None else shown_tools(given.tools),
            "tool_choice": None if given.tool_choice is None else shown_choice(given.tool_choice),
            "metadata": given.metadata,
            "context": None if given.input is None else self._context(given),
        }
        changes = {name: value for name, value in changes.items() if value is not None}
        if given.max_output_tokens is not None:
            changes["max_output_tokens"] = token_limit(given.max_output_tokens)
        return replace(options, **changes, in_conversation=given.conversation == "auto")

    def _context(self, given: ResponseParameters) -> tuple[JsonItem, ...]:
        return tuple(self._context_item(item) for item in given.input or ())

    def _context_item(self, item: Any) -> JsonItem:
        if isinstance(item, ItemReference):
            return self.conversation.find(item.id, "reference").item
        return _shown_item(item.model_dump(mode="json", exclude_none=True))

    # What is heard of the caller.

    def input_audio(self, duration_ms: float) -> None:
        """Sound came in; called for every frame, or for several at once."""
        self._buffered_ms += duration_ms

    def speech_started(self, audio_start_ms: int) -> list[ServerEvent]:
        """Voice was detected; offsets count sound since the call began."""
        self._pending_input_id = self._pending_input_id or new_id("item")
        return [
            server_event(
                "input_audio_buffer.speech_started",
                audio_start_ms=audio_start_ms,
                item_id=self._pending_input_id,
            )
        ]

    def speech_stopped(self, audio_end_ms: int) -> list[ServerEvent]:
        """The voice has been silent for long enough."""
        self._pending_input_id = self._pending_input_id or new_id("item")
        return [
            server_event(
                "input_audio_buffer.speech_stopped",
                audio_end_ms=audio_end_ms,
                item_id=self._pending_input_id,
            )
        ]

    def idle_timeout(self, audio_start_ms: int, audio_end_ms: int) -> list[ServerEvent]:
        """Nobody spoke for `idle_timeout_ms`; commit what there is and answer it next."""
        self._pending_input_id = self._pending_input_id or new_id("item")
        return [
            server_event(
                "input_audio_buffer.timeout_triggered",
                audio_start_ms=audio_start_ms,
                audio_end_ms=audio_end_ms,
                item_id=self._pending_input_id,
            )
        ]

    def input_committed(self) -> tuple[str, list[ServerEvent]]:
        """The caller's turn is an item now: its id, and what the client is told."""
        item_id = self._pending_input_id or new_id("item")
        self._pending_input_id = ""
        self._buffered_ms = 0.0
        item = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        previous = self.conversation.last_id
        committed = server_event(
            "input_audio_buffer.committed", previous_item_id=previous, item_id=item_id
        )
        added, *overflow = self._added(Entry(item))
        done = server_event("conversation.item.done", previous_item_id=previous, item=item)
        return item_id, [committed, added, done, *overflow]

    def input_transcript_delta(self, item_id: str, delta: str) -> list[ServerEvent]:
        """More of what the caller said in a turn is known."""
        if self.config.audio.input.transcription is None:
            return []
        return [
            server_event(
                "conversation.item.input_audio_transcription.delta",
                item_id=item_id,
                content_index=0,
                delta=delta,
            )
        ]

    def input_transcript(self, item_id: str, transcript: str, audio_s: float) -> list[ServerEvent]:
        """All the caller said in a turn of `audio_s` seconds is known.

        The item gets its transcript always; the client is told when it configured transcription.
        """
        entry = self.conversation.get(item_id)
        if entry is not None and entry.item["content"][0]["type"] == "input_audio":
            entry.item["content"][0]["transcript"] = transcript
            self.conversation.changed(entry)
        if self.config.audio.input.transcription is None:
            return []
        return [
            server_event(
                "conversation.item.input_audio_transcription.completed",
                item_id=item_id,
                content_index=0,
                transcript=transcript,
                usage={"type": "duration", "seconds": round(audio_s, 3)},
            )
        ]

    def input_transcript_failed(self, item_id: str, code: str, message: str) -> list[ServerEvent]:
        """What the caller said could not be written down."""
        if self.config.audio.input.transcription is None:
            return []
        error = {"type": "server_error", "code": code, "message": message}
        return [
            server_event(
                "conversation.item.input_audio_transcription.failed",
                item_id=item_id,
                content_index=0,
                error=error,
            )
        ]

    # And the rest.

    def response_created(self) -> list[ServerEvent]:
        """The agent answers of its own accord, as the configuration says (see `active`).

        Raises RuntimeError while a response is active.
        """
        if self.active is not None:
            raise RuntimeError(f"response {self.active.id} is active")
        return self._created(
            Response(new_id("resp"), options_of(self.config), self.conversation_id)
        )

    def turn_told(self, record: Mapping[str, Any]) -> list[ServerEvent]:
        """Where the milliseconds of a turn went; the client may report its own on it.

        The same turn may be told again, in the place of what was known of it.
        """
        return [self._reported_turns.tell(record)]

    def rate_limits(self, limits: Sequence[Mapping[str, Any]]) -> list[ServerEvent]:
        """How much is left; each limit has name, limit, remaining, reset_seconds."""
        return [server_event("rate_limits.updated", rate_limits=[dict(one) for one in limits])]

    def failed(self, code: str, message: str) -> list[ServerEvent]:
        """Something on our side went wrong that is nobody's event; the call goes on."""
        refusal = Refusal(code, message, kind="server_error")
        return [server_event("error", error=refusal.shown())]

    def _shown_session(self) -> dict[str, Any]:
        return {
            "object": "realtime.session",
            "id": self.id,
            **self.config.shown(),
            "expires_at": self._expires_at,
        }


def _shown_item(item: JsonItem) -> JsonItem:
    """An item as it is shown: with an id, a status and, for a call, a call id."""
    shown = {**item, "id": item.get("id") or new_id("item"), "status": "completed"}
    if shown["type"] == "function_call":
        shown.setdefault("call_id", new_id("call"))
    for index, part in enumerate(shown.get("content", ())):
        if part["type"] == "input_audio":
            part.setdefault("transcript", None)
            _decoded(part.get("audio", ""), f"item.content[{index}].audio")
    return shown


def _without_audio(item: JsonItem) -> JsonItem:
    """The item without sound, which is for the agent and is not shown again."""
    if "content" not in item:
        return item
    content = [{key: part[key] for key in part if key != "audio"} for part in item["content"]]
    return {**item, "content": content}


def _decoded(audio: str, param: str) -> bytes:
    try:
        pcm = base64.b64decode(audio, validate=True)
    except (ValueError, binascii.Error):
        raise Refusal("invalid_value", f"Invalid '{param}': not base64.", param) from None
    if len(pcm) % 2:
        raise Refusal("invalid_value", f"Invalid '{param}': not 16-bit samples.", param)
    return pcm
