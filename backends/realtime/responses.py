"""One response: what it was asked for, what came out, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from backends.realtime.config import FunctionTool, SessionConfig, Voice
from backends.realtime.conversation import Entry
from backends.realtime.usage import Usage

Status = Literal["in_progress", "completed", "cancelled", "incomplete", "failed"]
Reason = Literal["turn_detected", "client_cancelled", "max_output_tokens", "content_filter"]


@dataclass(frozen=True)
class ResponseOptions:
    """The session's configuration as it was, with what this response was given on top.

    `max_output_tokens` None means as many as the model likes. `context` None means the
    conversation; otherwise these items, as clients are shown them, are all there is to answer.
    A response that is not `in_conversation` leaves no trace in it.
    """

    instructions: str = field(repr=False)
    modality: Literal["audio", "text"]
    voice: str
    speed: float
    tools: tuple[dict[str, Any], ...]
    tool_choice: str | dict[str, Any]
    max_output_tokens: int | None
    metadata: dict[str, str] | None = None
    context: tuple[dict[str, Any], ...] | None = None
    in_conversation: bool = True


def options_of(config: SessionConfig) -> ResponseOptions:
    """What the configuration alone says."""
    return ResponseOptions(
        instructions=config.instructions,
        modality=config.output_modalities[0],
        voice=voice_name(config.audio.output.voice),
        speed=config.audio.output.speed,
        tools=shown_tools(config.tools),
        tool_choice=shown_choice(config.tool_choice),
        max_output_tokens=token_limit(config.max_output_tokens),
    )


def voice_name(voice: str | Voice) -> str:
    """A voice by name, however it was named."""
    return voice if isinstance(voice, str) else voice.id


def shown_tools(tools: list[FunctionTool]) -> tuple[dict[str, Any], ...]:
    """Tools as JSON objects."""
    return tuple(tool.model_dump(mode="json", exclude_none=True) for tool in tools)


def shown_choice(choice: Any) -> str | dict[str, Any]:
    """`tool_choice` as JSON."""
    return choice if isinstance(choice, str) else dict(choice.model_dump(mode="json"))


def token_limit(limit: int | Literal["inf"]) -> int | None:
    """A number, or None for `inf`."""
    return None if limit == "inf" else limit


@dataclass
class Output:
    """An item a response is producing; `written` is its text or its arguments so far."""

    entry: Entry
    index: int
    kind: Literal["output_audio", "output_text", "function_call"]
    written: list[str] = field(default_factory=list)

    @property
    def item_id(self) -> str:
        """The item's id."""
        return str(self.entry.item["id"])

    @property
    def text(self) -> str:
        """All that was written."""
        return "".join(self.written)


@dataclass
class Response:
    """A response from `response.created` to `response.done`."""

    id: str
    options: ResponseOptions
    conversation_id: str
    outputs: list[Output] = field(default_factory=list)
    open: Output | None = None

    def shown(
        self,
        status: Status,
        details: dict[str, Any] | None = None,
        usage: Usage | None = None,
    ) -> dict[str, Any]:
        """The `response` member of events."""
        options = self.options
        pcm = {"type": "audio/pcm", "rate": 24000}
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [output.entry.item for output in self.outputs],
            "conversation_id": self.conversation_id if options.in_conversation else None,
            "output_modalities": [options.modality],
            "max_output_tokens": options.max_output_tokens or "inf",
            "audio": {"output": {"format": pcm, "voice": options.voice}},
            "usage": usage.shown() if usage else None,
            "metadata": options.metadata,
        }
