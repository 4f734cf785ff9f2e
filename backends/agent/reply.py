"""One answer in the making: the chat model's words, cut into clauses and spoken.

    messages ─▶ think ── clauses ──▶ voice ── Words, Sound … Finished ──▶ whoever plays it
                 ▲  └─ tool calls ─▶ Toolbox ─┐
                 └────────────────────────────┘

Both halves run at once, so the first clause is spoken while the rest is written. A reply may be
made ahead, before the caller's turn is known to be over: tools that are not harmless wait for
`keep`. Cancelling `make` ends all of it.

Bounds: MAX_CLAUSES and MAX_PIECES wait between the halves and for the player, who sets the pace;
MAX_SOUND_S of sound and MAX_ROUNDS of tools make an answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backends.agent.clauses import ClauseChunker
from backends.agent.messages import tool_messages
from backends.agent.models import (
    BYTES_PER_MS,
    ChatMessage,
    ModelFailure,
    Models,
    TextDelta,
    TokenUsage,
    ToolCall,
)
from backends.agent.pace import paced
from backends.agent.stages import Stamps
from backends.agent.tools import Toolbox

MAX_CLAUSES = 32
MAX_PIECES = 64
MAX_SOUND_S = 180.0
MAX_ROUNDS = 4
MAX_PHRASE_CHARS = 120


@dataclass(frozen=True)
class Limits:
    """How long a model may be silent, in seconds, before the answer counts as failed."""

    first_token_s: float = 15.0
    next_token_s: float = 10.0
    first_sound_s: float = 10.0
    next_sound_s: float = 5.0
    filler_after_s: float = 0.7  # a tool that takes longer is spoken over


@dataclass(frozen=True)
class Asked:
    """What is to be answered, and how; `functions` are those the client runs.

    `words` are said as they are, first of all; without `messages` no model is asked.
    """

    messages: tuple[ChatMessage, ...] = field(repr=False)
    functions: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    spoken: bool = True
    voice: str = ""
    max_tokens: int | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """A clause begins; its sound follows."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sound:
    """More sound of the clause."""

    pcm: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete, or failed."""

    failure: ModelFailure | None = None


Piece = Words | Sound | ToolCall | Finished


class Reply:
    """`make` it in a task, read its `pieces`; `stamps`, `tools_run`, `usage` say what happened."""

    def __init__(
        self,
        call: str,
        asked: Asked,
        models: Models,
        toolbox: Toolbox,
        filler: str = "",
        limits: Limits | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.stamps = Stamps()
        self.tools_run: list[str] = []
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue(MAX_PIECES)
        self._call = call
        self._asked = asked
        self._models = models
        self._toolbox = toolbox
        self._filler = filler
        self._limits = limits or Limits()
        self._kept = asyncio.Event()
        self._clauses: asyncio.Queue[str | ToolCall | None] = asyncio.Queue(MAX_CLAUSES)
        self.usage = TokenUsage()
        self.written: list[str] = []  # all clauses so far, said or not
        self.thought = False  # nothing is to be added to them
        self.effects = False  # a tool was run that is not harmless
        self._on_change = on_change
        self._sound_bytes = 0

    def keep(self) -> None:
        """The answer will be given: it may have effects now."""
        self._kept.set()

    async def pieces(self) -> AsyncIterator[Piece]:
        """The answer, to its `Finished`."""
        while True:
            piece = await self._pieces.get()
            yield piece
            if isinstance(piece, Finished):
                return

    async def make(self) -> None:
        """Think and speak. Failures of models end in `Finished`; nothing else is caught."""
        failure: ModelFailure | None = None
        try:
            async with asyncio.TaskGroup() as halves:
                halves.create_task(self._think())
                halves.create_task(self._voice())
        except* ModelFailure as failures:
            failure = _first(failures)
        await self._pieces.put(Finished(failure))

    async def _think(self) -> None:
        await self._say(_clauses_of(self._asked.words))
        if self._asked.messages or not self._asked.words:
            await self._ask(list(self._asked.messages))
        self.thought = True
        self._on_change()
        await self._clauses.put(None)

    async def _ask(self, messages: list[ChatMessage]) -> None:
        for _ in range(MAX_ROUNDS):
            calls = await self._think_once(messages)
            ours = [call for call in calls if call.name in self._toolbox]
            for call in calls:
                if call.name not in self._toolbox:
                    await self._clauses.put(call)
            if not ours or len(ours) < len(calls):  # the client's answers are needed too
                break
            for call in ours:
                output = await self._run_tool(call)
                messages += tool_messages(call.call_id, call.name, call.arguments, output)

    async def _think_once(self, messages: Sequence[ChatMessage]) -> list[ToolCall]:
        """Stream one answer of the model into clauses; the calls it makes."""
        chunker, calls, limits = ClauseChunker(), [], self._limits
        functions = [*self._toolbox.functions, *self._asked.functions]
        stream = self._models.think.stream(self._call, messages, functions, self._asked.max_tokens)
        async for event in paced(stream, "llm", limits.first_token_s, limits.next_token_s):
            if isinstance(event, TextDelta):
                self._note("first_words")
                await self._say(chunker.feed(event.text))
            elif isinstance(event, ToolCall):
                calls.append(event)
            else:
                self._count(event)
        await self._say(chunker.rest())
        return calls

    async def _say(self, clauses: Sequence[str]) -> None:
        for clause in clauses:
            self.written.append(clause)
            self._on_change()
            await self._clauses.put(clause)

    async def _run_tool(self, call: ToolCall) -> str:
        if not self._toolbox.harmless(call.name):
            await self._kept.wait()
            self.effects = True
            self._on_change()
        self._note("tool_started")
        self.tools_run.append(call.name)
        running = asyncio.ensure_future(self._toolbox.run(call.name, call.arguments))
        try:
            await asyncio.wait({running}, timeout=self._limits.filler_after_s)
            if not running.done() and self._filler and self.stamps.first_sound is None:
                await self._say([self._filler])
            output = await running
        finally:
            running.cancel()
        self._note("tool_ended")
        return output

    async def _voice(self) -> None:
        while (clause := await self._clauses.get()) is not None:
            if isinstance(clause, ToolCall):
                await self._pieces.put(clause)
                continue
            await self._pieces.put(Words(clause))
            if self._asked.spoken:
                await self._speak(clause.strip())

    async def _speak(self, text: str) -> None:
        limits = self._limits
        stream = self._models.speak.speak(self._call, text, self._asked.voice)
        async for pcm in paced(stream, "tts", limits.first_sound_s, limits.next_sound_s):
            if not pcm:
                continue
            self._note("first_sound")
            self._sound_bytes += len(pcm)
            if self._sound_bytes > MAX_SOUND_S * 1000 * BYTES_PER_MS:
                raise ModelFailure("tts", "too_long")
            await self._pieces.put(Sound(pcm))

    def _note(self, stage: str) -> None:
        self.stamps.note(stage, time.monotonic())

    def _count(self, usage: TokenUsage) -> None:
        so_far = self.usage
        self.usage = TokenUsage(
            so_far.read + usage.read, so_far.cached + usage.cached, so_far.written + usage.written
        )


def _clauses_of(words: str) -> list[str]:
    """Short words are one clause; of long ones the first is heard while the others are made."""
    if len(words) <= MAX_PHRASE_CHARS:
        return [words] if words else []
    chunker = ClauseChunker()
    return [*chunker.feed(words), *chunker.rest()]


def _first(failures: BaseExceptionGroup[ModelFailure]) -> ModelFailure:
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    assert isinstance(failure, ModelFailure)  # noqa: S101 - the group has no others
    return failure
