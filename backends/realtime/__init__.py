"""The OpenAI Realtime protocol (GA event names) as a pure session: no socket, task or clock.

    client event (text) ─▶ RealtimeSession.client_event ─▶ Reaction: server events, commands
    what the agent does ─▶ RealtimeSession.<happening>  ─▶ server events

The agent sends server events to the caller in the order it got them and carries commands out.
Events, fields, ids, ordering and errors follow OpenAI's published API (the schema of August 2026);
docs/realtime.md lists what is there and what is not.
"""

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
from backends.realtime.config import SemanticVad, ServerVad, SessionConfig, TurnDetection
from backends.realtime.events import ServerEvent, to_text
from backends.realtime.responses import ResponseOptions
from backends.realtime.session import Reaction, RealtimeSession
from backends.realtime.usage import InputTokens, OutputTokens, Usage

__all__ = [
    "AppendAudio",
    "CancelResponse",
    "ClearInput",
    "ClearOutput",
    "Command",
    "CommitInput",
    "CreateItem",
    "CreateResponse",
    "DeleteItem",
    "InputTokens",
    "NoteClientNetwork",
    "OutputTokens",
    "Reaction",
    "RealtimeSession",
    "ResponseOptions",
    "SemanticVad",
    "ServerEvent",
    "ServerVad",
    "SessionConfig",
    "TruncateItem",
    "TurnDetection",
    "UpdateSession",
    "Usage",
    "to_text",
]
