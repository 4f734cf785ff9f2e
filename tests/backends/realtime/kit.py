"""What the tests of the protocol share: a session, and the published schema of its events."""

from __future__ import annotations

import json
from typing import Any

from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from backends.realtime import Reaction, RealtimeSession, ServerEvent, to_text

_PUBLISHED = TypeAdapter[Any](RealtimeServerEvent)


def say(session: RealtimeSession, /, **event: Any) -> Reaction:
    """One client event, and what follows; every answer is checked against the schema."""
    reaction = session.client_event(json.dumps(event))
    check(reaction.events)
    return reaction


def ask(session: RealtimeSession, /, **event: Any) -> list[ServerEvent]:
    """The answers to one client event that must not be refused."""
    events = say(session, **event).events
    assert "error" not in kinds(events), events
    return events


def refused(session: RealtimeSession, /, **event: Any) -> dict[str, Any]:
    """The error of one client event, which must be the only answer and command nothing."""
    reaction = say(session, **event)
    assert kinds(reaction.events) == ["error"]
    assert reaction.commands == []
    error: dict[str, Any] = reaction.events[0]["error"]
    return error


def kinds(events: list[ServerEvent]) -> list[str]:
    return [event["type"] for event in events]


def check(events: list[ServerEvent]) -> list[ServerEvent]:
    """The events, each valid by the types of OpenAI's own client."""
    for event in events:
        _PUBLISHED.validate_json(to_text(event))
    return events


def answering(session: RealtimeSession) -> str:
    """Let the agent begin to speak; the item's id."""
    check(session.response_created())
    item_id, events = session.message_started()
    check(events)
    return item_id
