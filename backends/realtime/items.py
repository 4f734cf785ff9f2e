"""Conversation items as a client may create them, and as it is shown them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from backends.realtime.shape import Id, Name, Shape, Text

MAX_PARTS = 32
Status = Literal["completed", "incomplete", "in_progress"]


class InputText(Shape):
    """Written, not spoken."""

    type: Literal["input_text"]
    text: Text


class InputAudio(Shape):
    """Speech the client brings as base64 (PCM16, 24 kHz), or words somebody spoke before."""

    type: Literal["input_audio"]
    audio: Text | None = None
    transcript: Text | None = None


class OutputText(Shape):
    """What an assistant wrote."""

    type: Literal["output_text"]
    text: Text


class OutputAudio(Shape):
    """What an assistant said; its sound cannot be brought along."""

    type: Literal["output_audio"]
    transcript: Text | None = None
    audio: None = None


class _Item(Shape):
    id: Id | None = None
    object: Literal["realtime.item"] = "realtime.item"
    status: Status | None = None


class SystemMessage(_Item):
    """What the assistant should know or do from here on."""

    type: Literal["message"]
    role: Literal["system"]
    content: list[InputText] = Field(min_length=1, max_length=MAX_PARTS)


class UserMessage(_Item):
    """What the caller says."""

    type: Literal["message"]
    role: Literal["user"]
    content: list[Annotated[InputText | InputAudio, Field(discriminator="type")]] = Field(
        min_length=1, max_length=MAX_PARTS
    )


class AssistantMessage(_Item):
    """What the assistant said."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: list[Annotated[OutputText | OutputAudio, Field(discriminator="type")]] = Field(
        min_length=1, max_length=MAX_PARTS
    )


class FunctionCall(_Item):
    """A function the model wants called; `arguments` is JSON as text."""

    type: Literal["function_call"]
    name: Name
    arguments: Text
    call_id: Id | None = None


class FunctionCallOutput(_Item):
    """What came of it."""

    type: Literal["function_call_output"]
    call_id: Id
    output: Text


Message = Annotated[SystemMessage | UserMessage | AssistantMessage, Field(discriminator="role")]
Item = Annotated[Message | FunctionCall | FunctionCallOutput, Field(discriminator="type")]
