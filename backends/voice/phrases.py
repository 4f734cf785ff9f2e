"""Calls tools by phrases, for a chat model that is too small to call them.

A model of 135 million parameters cannot be relied upon to call functions, so each tool may have
phrases: when the caller's last words match one, the tool is called (without arguments), and its
answer is put into the tool's sentence. Everything else goes to the model.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from backends.agent.models import ChatEvent, ChatMessage, ChatModel, TextDelta, ToolCall


@dataclass(frozen=True)
class Phrase:
    """Words that ask for `tool`, and how its answer is said: `{name}` is a member of its JSON."""

    tool: str
    pattern: re.Pattern[str]
    say: str


TIME = Phrase(
    "get_time",
    re.compile(r"\bwhat(?:'s| is)? (?:the )?time\b|\btime is it\b", re.IGNORECASE),
    "It is {time}.",
)
FAILED = "I could not find that out, sorry."


class PhraseTools:
    """`inner`, with the tools that `phrases` ask for."""

    def __init__(self, inner: ChatModel, phrases: Sequence[Phrase]) -> None:
        self._inner = inner
        self._phrases = {phrase.tool: phrase for phrase in phrases}

    async def stream(
        self,
        call: str,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] = (),
        max_tokens: int | None = None,
    ) -> AsyncIterator[ChatEvent]:
        """As ChatModel."""
        last = messages[-1] if messages else {}
        phrase = self._asked(last) if last.get("role") == "user" else None
        if last.get("role") == "tool":
            yield TextDelta(self._answer(messages))
        elif phrase is not None:
            yield ToolCall(f"call_{len(messages)}", phrase.tool, "{}")
        else:
            async for event in self._inner.stream(call, messages, tools, max_tokens):
                yield event

    async def prime(self, call: str, messages: Sequence[ChatMessage]) -> None:
        """As ChatModel."""
        await self._inner.prime(call, messages)

    def _asked(self, message: ChatMessage) -> Phrase | None:
        words = str(message["content"])
        found = (phrase for phrase in self._phrases.values() if phrase.pattern.search(words))
        return next(found, None)

    def _answer(self, messages: Sequence[ChatMessage]) -> str:
        (made,) = messages[-2]["tool_calls"]
        phrase = self._phrases.get(made["function"]["name"])
        return FAILED if phrase is None else filled_in(phrase.say, str(messages[-1]["content"]))


def filled_in(sentence: str, output: str) -> str:
    """The sentence with members of the tool's JSON answer; FAILED when one is missing."""
    try:
        answer = from_json(output)
        return sentence.format_map(answer) if isinstance(answer, dict) else FAILED
    except (ValueError, KeyError, AttributeError, IndexError):
        return FAILED
