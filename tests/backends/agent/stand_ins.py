"""Models that do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backends.agent.models import (
    ChatEvent,
    ChatMessage,
    ModelFailure,
    Models,
    TextDelta,
    TokenUsage,
    ToolCall,
)
from tests.backends.agent.instant import instant_models

FOR_EVER = float("inf")
TIMEOUT_S = 10.0


def models(**others: Any) -> Models:
    """Instant models, some of them replaced."""
    return replace(instant_models(), **others)


async def hang() -> None:
    """Never return."""
    await asyncio.Event().wait()


class Writer:
    """A SpeechToText that says `texts` in turn; a ModelFailure among them is raised, None hangs."""

    partials = False

    def __init__(self, *texts: str | ModelFailure | None) -> None:
        self._texts = list(texts)
        self.asked = 0
        self.fed_bytes = 0

    def listen(self, call: str) -> Writer:
        return self

    def feed(self, pcm: bytes) -> None:
        self.fed_bytes += len(pcm)

    async def text(self, *, final: bool) -> str:
        text = self._texts[min(self.asked, len(self._texts) - 1)]
        self.asked += 1
        if text is None:
            await hang()
        if isinstance(text, ModelFailure):
            raise text
        return str(text)


class Thinker:
    """A ChatModel that gives `answers` in turn: events, or ModelFailure to raise, or None to hang.

    An asyncio.Event among them is waited for.

    `heard` holds the messages it was given, `left` counts the streams that were closed early.
    """

    def __init__(self, *answers: Sequence[ChatEvent | ModelFailure | asyncio.Event | None]) -> None:
        self._answers = list(answers)
        self.heard: list[list[ChatMessage]] = []
        self.left = 0
        self._news = asyncio.Event()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something to hold of `heard` or `left`."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def stream(
        self,
        call: str,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] = (),
        max_tokens: int | None = None,
    ) -> AsyncIterator[ChatEvent]:
        answer = self._answers[min(len(self.heard), len(self._answers) - 1)]
        self.heard.append(list(messages))
        self._news.set()
        try:
            for event in answer:
                if event is None:
                    await hang()
                elif isinstance(event, ModelFailure):
                    raise event
                elif isinstance(event, asyncio.Event):
                    await event.wait()
                else:
                    yield event
        except (GeneratorExit, asyncio.CancelledError):
            self.left += 1
            self._news.set()
            raise

    async def prime(self, call: str, messages: Sequence[ChatMessage]) -> None:
        pass


class Speaker:
    """A TextToSpeech of `ms_per_word`; `fails` after so many clauses, `hangs` instead."""

    def __init__(
        self, ms_per_word: int = 100, fails_after: float = FOR_EVER, hangs: bool = False
    ) -> None:
        self.spoken: list[str] = []
        self._ms_per_word = ms_per_word
        self._fails_after = fails_after
        self._hangs = hangs

    async def speak(self, call: str, text: str, voice: str = "") -> AsyncIterator[bytes]:
        if self._hangs:
            await hang()
        if len(self.spoken) >= self._fails_after:
            raise ModelFailure("tts", "down")
        self.spoken.append(text)
        yield bytes(32 * self._ms_per_word * len(text.split()))


def words(text: str) -> list[ChatEvent]:
    """An answer, word by word, and what it cost."""
    deltas: list[ChatEvent] = [TextDelta(f"{word} ") for word in text.split()]
    return [*deltas, TokenUsage(10, 4, len(deltas))]


def calls(name: str, arguments: str = "{}") -> list[ChatEvent]:
    """An answer that is a function call."""
    return [ToolCall("call_a", name, arguments)]
