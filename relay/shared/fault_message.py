"""What a worker says to its supervisor when something raised in it."""

from __future__ import annotations

from relay.shared.control import Message

MAX_TEXT = 200
_KIND = "fault"


def fault_message(text: str) -> Message:
    """One line: which exception, and where."""
    return {_KIND: text[:MAX_TEXT]}


def read_fault(message: Message) -> str | None:
    """The line; None when the message is about something else."""
    text = message.get(_KIND)
    return text[:MAX_TEXT] if isinstance(text, str) else None
