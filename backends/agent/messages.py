"""Conversation items as chat messages, the newest that fit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backends.agent.models import ChatMessage

Item = Mapping[str, Any]


def chat_messages(
    items: Iterable[Item], instructions: str = "", max_chars: int = 24_000
) -> list[ChatMessage]:
    """The messages for a model that reads at most about `max_chars`; the newest is always there.

    Messages of one role in a row become one, since small models have never seen two.
    """
    messages: list[ChatMessage] = []
    for item in items:
        message = _message(item)
        if message is not None:
            _append(messages, message)
    kept = _newest(messages, max_chars - len(instructions))
    return [{"role": "system", "content": instructions}, *kept] if instructions else kept


def user_message(text: str) -> Item:
    """What a caller says, before it is an item of the conversation."""
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content}


def assistant_message(text: str) -> Item:
    """What an assistant is about to say."""
    content = [{"type": "output_text", "text": text}]
    return {"type": "message", "role": "assistant", "content": content}


def tool_messages(call_id: str, name: str, arguments: str, output: str) -> list[ChatMessage]:
    """A call that was made, and what came of it."""
    function = {"name": name, "arguments": arguments}
    call = {"id": call_id, "type": "function", "function": function}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": output},
    ]


def _message(item: Item) -> ChatMessage | None:
    if item["type"] == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    if item["type"] == "function_call_output":
        return {"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]}
    text = " ".join(filter(None, map(_text, item.get("content", ()))))
    return {"role": item["role"], "content": text} if text else None


def _text(part: Mapping[str, Any]) -> str:
    return str(part.get("text") or part.get("transcript") or "").strip()


def _append(messages: list[ChatMessage], message: ChatMessage) -> None:
    last = messages[-1] if messages else {}
    plain = message["role"] in ("user", "assistant") and "tool_calls" not in message
    if plain and last.get("role") == message["role"] and "tool_calls" not in last:
        joined = f"{last['content']} {message['content']}"
        messages[-1] = {"role": message["role"], "content": joined}
    else:
        messages.append(message)


def _newest(messages: Sequence[ChatMessage], max_chars: int) -> list[ChatMessage]:
    kept: list[ChatMessage] = []
    for message in reversed(messages):
        max_chars -= len(str(message["content"] or "")) + 16
        if kept and max_chars < 0:
            break
        kept.insert(0, message)
    while kept and kept[0]["role"] == "tool":  # the call it answers is gone
        kept.pop(0)
    return kept
