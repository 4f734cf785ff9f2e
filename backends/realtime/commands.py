"""What a client event asks of the agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from backends.realtime.config import SessionConfig
from backends.realtime.responses import ResponseOptions


@dataclass(frozen=True)
class UpdateSession:
    """The configuration is now `config`."""

    config: SessionConfig = field(repr=False)


@dataclass(frozen=True)
class AppendAudio:
    """Hear `pcm` (signed 16-bit little-endian mono, 24 kHz) as if the caller had said it."""

    pcm: bytes = field(repr=False)


@dataclass(frozen=True)
class CommitInput:
    """The caller's turn has ended; it is item `item_id`, which is in the conversation already."""

    item_id: str


@dataclass(frozen=True)
class ClearInput:
    """Forget what was heard since the last turn."""


@dataclass(frozen=True)
class ClearOutput:
    """Stop the voice; answered by `RealtimeSession.output_cleared`."""


@dataclass(frozen=True)
class CreateItem:
    """`item` (as clients are shown it) is in the conversation now, after `previous_item_id`."""

    item: dict[str, Any] = field(repr=False)
    previous_item_id: str | None


@dataclass(frozen=True)
class DeleteItem:
    """The item is not in the conversation any more."""

    item_id: str


@dataclass(frozen=True)
class TruncateItem:
    """Of the assistant's item only `text` was heard, which ends at `audio_end_ms`."""

    item_id: str
    audio_end_ms: int
    text: str = field(repr=False)


@dataclass(frozen=True)
class CreateResponse:
    """Answer; the client was told of the response already. Ends by `response_done`."""

    response_id: str
    options: ResponseOptions = field(repr=False)


@dataclass(frozen=True)
class CancelResponse:
    """Stop generating; answered by `response_done("cancelled", reason="client_cancelled")`."""

    response_id: str


@dataclass(frozen=True)
class NoteClientNetwork:
    """The client measured these legs of the network in a turn; None for what it does not know."""

    turn: int
    rtt_ms: float | None
    jitter_buffer_ms: float | None


Command = (
    UpdateSession
    | AppendAudio
    | CommitInput
    | ClearInput
    | ClearOutput
    | CreateItem
    | DeleteItem
    | TruncateItem
    | CreateResponse
    | CancelResponse
    | NoteClientNetwork
)
