"""The eleven client events of OpenAI's API and one of ours, from text to value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from backends.realtime import refusals
from backends.realtime.config import (
    AudioFormat,
    MaxOutputTokens,
    Modalities,
    SessionConfig,
    ToolChoice,
    Tools,
    Voice,
)
from backends.realtime.items import Item
from backends.realtime.page import ANYBODY, Page
from backends.realtime.refusals import Refusal
from backends.realtime.shape import MAX_EVENT_ID_CHARS, Id, Label, Shape, Text
from fleet.foreign_json import read_json

MAX_CONTEXT_ITEMS = 128
MAX_NUMBER = 2**31 - 1
MAX_LEG_MS = 60_000
MAX_METADATA = 16  # OpenAI's own limit
MAX_AUDIO_CHARS = 15 * 1024 * 1024  # as their API says; a data channel allows far less


class _Event(Shape):
    event_id: Annotated[str, Field(max_length=MAX_EVENT_ID_CHARS)] | None = None


class SessionUpdate(_Event):
    """Change the configuration; what is left out stays."""

    type: Literal["session.update"]
    session: SessionConfig


class InputAudioBufferAppend(_Event):
    """Sound beside the media track, base64 of PCM16 at 24 kHz."""

    type: Literal["input_audio_buffer.append"]
    audio: Annotated[str, Field(max_length=MAX_AUDIO_CHARS)]


class InputAudioBufferCommit(_Event):
    """The caller's turn ends here."""

    type: Literal["input_audio_buffer.commit"]


class InputAudioBufferClear(_Event):
    """Forget what was heard since the last turn."""

    type: Literal["input_audio_buffer.clear"]


class OutputAudioBufferClear(_Event):
    """Stop talking."""

    type: Literal["output_audio_buffer.clear"]


class ConversationItemCreate(_Event):
    """Put an item into the conversation: after `previous_item_id`, `root` or at the end."""

    type: Literal["conversation.item.create"]
    previous_item_id: Id | None = None
    item: Item


class ConversationItemRetrieve(_Event):
    """Show an item."""

    type: Literal["conversation.item.retrieve"]
    item_id: Id


class ConversationItemTruncate(_Event):
    """Only the first `audio_end_ms` of an assistant's speech was heard."""

    type: Literal["conversation.item.truncate"]
    item_id: Id
    content_index: Annotated[int, Field(ge=0, le=MAX_NUMBER)]
    audio_end_ms: Annotated[int, Field(ge=0, le=MAX_NUMBER)]


class ConversationItemDelete(_Event):
    """Take an item out of the conversation."""

    type: Literal["conversation.item.delete"]
    item_id: Id


class ItemReference(Shape):
    """An item of the conversation, by id."""

    type: Literal["item_reference"]
    id: Id


class ResponseAudioOutput(Shape):
    """How one response sounds."""

    format: AudioFormat | None = None
    voice: Label | Voice | None = None


class ResponseAudio(Shape):
    """How one response sounds."""

    output: ResponseAudioOutput | None = None


class ResponseParameters(Shape):
    """What differs from the session's configuration for one response."""

    conversation: Literal["auto", "none"] = "auto"
    instructions: Text | None = None
    output_modalities: Modalities | None = None
    audio: ResponseAudio | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: MaxOutputTokens | None = None
    metadata: Annotated[dict[str, str], Field(max_length=MAX_METADATA)] | None = None
    input: Annotated[list[Item | ItemReference], Field(max_length=MAX_CONTEXT_ITEMS)] | None = None
    prompt: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None


class ResponseCreate(_Event):
    """Answer now."""

    type: Literal["response.create"]
    response: ResponseParameters | None = None


class ResponseCancel(_Event):
    """Stop answering; without an id, whatever response is running."""

    type: Literal["response.cancel"]
    response_id: Id | None = None


Leg = Annotated[float, Field(ge=0, le=MAX_LEG_MS)]


class ClientReport(_Event):
    """What the client measured of the network in a turn, in ms; null for what it does not know."""

    type: Literal["trunkline.client_report"]
    turn: Annotated[int, Field(ge=0, le=MAX_NUMBER)]
    rtt_ms: Leg | None = None
    jitter_buffer_ms: Leg | None = None


ClientEvent = (
    SessionUpdate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | OutputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemRetrieve
    | ConversationItemTruncate
    | ConversationItemDelete
    | ResponseCreate
    | ResponseCancel
    | ClientReport
)
_MODELS: dict[str, type[ClientEvent]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": InputAudioBufferAppend,
    "input_audio_buffer.commit": InputAudioBufferCommit,
    "input_audio_buffer.clear": InputAudioBufferClear,
    "output_audio_buffer.clear": OutputAudioBufferClear,
    "conversation.item.create": ConversationItemCreate,
    "conversation.item.retrieve": ConversationItemRetrieve,
    "conversation.item.truncate": ConversationItemTruncate,
    "conversation.item.delete": ConversationItemDelete,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
    "trunkline.client_report": ClientReport,
}


def parse(text: str, page: Page = ANYBODY) -> ClientEvent:
    """The event that `text` is, from that page. Raises Refusal, with the event's id, if any."""
    members = page.checked(_members(text))
    try:
        return _model(members.get("type")).model_validate(members)
    except ValidationError as error:
        raise refusals.from_validation(error, members).about(members.get("event_id")) from None
    except Refusal as refusal:
        raise refusal.about(members.get("event_id")) from None


def _members(text: str) -> dict[str, Any]:
    try:
        members = read_json(text)
    except ValueError:
        raise Refusal("invalid_json", "The event is not valid JSON.") from None
    if not isinstance(members, dict):
        raise Refusal("invalid_event", "The event is not a JSON object.")
    return members


def _model(name: object) -> type[ClientEvent]:
    if name is None:
        raise Refusal("missing_required_parameter", "Missing required parameter: 'type'.", "type")
    if not isinstance(name, str):
        raise Refusal("invalid_type", "Invalid type for 'type': expected a string.", "type")
    model = _MODELS.get(name)
    if model is None:
        known = ", ".join(f"'{known}'" for known in _MODELS)
        message = f"Invalid value: '{name[:64]}'. Supported values are: {known}."
        raise Refusal("invalid_value", message, "type")
    return model
