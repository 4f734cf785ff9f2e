"""Agents that do what a test says, behind a whole Trunkline: models stand in, the rest is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from backends.agent.agent import AgentProfile
from backends.agent.hosting import AgentHost
from backends.agent.models import (
    BYTES_PER_MS,
    ChatEvent,
    ChatMessage,
    ModelFailure,
    TextDelta,
    TokenUsage,
    ToolCall,
)
from backends.agent.tools import Toolbox
from launcher.stack import Stack, StackSettings
from tests.backends.agent import stand_ins
from tests.conftest import free_port
from trunkline.backend import AudioFormat, Backend, BackendServer
from trunkline.process.address import Address

QUESTION = "What is the weather like in Berlin today?"
SHORT = "It is ten o'clock."
LONG = (
    "Let me tell you a long story about a relay that forgot nothing, because it knew nothing. " * 5
)
MS_PER_WORD_HEARD = 150
TOOL_S = 0.4  # of SlowTool: that a tool takes time is what is shown

Answer = Callable[[Sequence[ChatMessage]], Sequence[ChatEvent]]


class Dictation:
    """Hears a sentence word by word, as time goes by."""

    partials = True

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence

    def listen(self, call: str) -> DictationOfTurn:
        """A new turn."""
        del call
        return DictationOfTurn(self._sentence)


class DictationOfTurn:
    """One turn of it."""

    def __init__(self, sentence: str) -> None:
        self._words = sentence.split()
        self._size_bytes = 0

    def feed(self, pcm: bytes) -> None:
        """Count it."""
        self._size_bytes += len(pcm)

    async def text(self, *, final: bool) -> str:
        """As many words as there was time for."""
        heard = self._size_bytes // (BYTES_PER_MS * MS_PER_WORD_HEARD)
        return " ".join(self._words if final else self._words[:heard])


class Chat:
    """Says what `answer` makes of the messages."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    async def stream(
        self,
        call: str,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] = (),
        max_tokens: int | None = None,
    ) -> AsyncIterator[ChatEvent]:
        """Event by event."""
        del call, tools, max_tokens
        for event in self.answer(messages):
            yield event

    async def prime(self, call: str, messages: Sequence[ChatMessage]) -> None:
        """Nothing to do."""


class SlowTool:
    """Takes its time; has effects, so it waits until the turn has ended."""

    name = "look_up"
    description = "The weather in a city."
    parameters: Mapping[str, Any] = {"type": "object", "properties": {}}
    timeout_s = 5.0
    harmless = False

    async def run(self, arguments: Mapping[str, Any]) -> str:
        """An answer, after a while."""
        del arguments
        await asyncio.sleep(TOOL_S)
        return "rain"


def words(text: str) -> list[ChatEvent]:
    """An answer, word by word."""
    spoken = text.split(" ")
    return [*(TextDelta(f"{word} ") for word in spoken), TokenUsage(10, 0, len(spoken))]


def looks_up_first(messages: Sequence[ChatMessage]) -> Sequence[ChatEvent]:
    """Calls the tool, then says what it learnt."""
    known = any(message["role"] == "tool" for message in messages)
    return words("It is raining in Berlin.") if known else [ToolCall("call_1", "look_up", "{}")]


def fails(messages: Sequence[ChatMessage]) -> Sequence[ChatEvent]:
    """A chat model that is down."""
    del messages
    raise ModelFailure("llm", "down")


@dataclass
class Agents:
    """A Trunkline with two backends: `agent`, which answers by `chat`, and `echo` by name."""

    stack: Stack
    server: BackendServer
    chat: Chat

    @property
    def url(self) -> str:
        """Where the page is."""
        return self.stack.console_url


@asynccontextmanager
async def agents(answer: Answer, **variables: str) -> AsyncIterator[Agents]:
    """Running, with further variables of the stack.

    The agent is in this process, so that a failure shows its traceback.
    """
    chat = Chat(answer)
    models = stand_ins.models(think=chat, hear=Dictation(QUESTION))
    host = AgentHost(nullcontext(models), Toolbox([SlowTool()]), PROFILE)
    server = BackendServer(
        Backend(host.handle, "voice", (AudioFormat.PCM16_16000,)), Address("127.0.0.1", 0)
    )
    echo = f"127.0.0.1:{free_port()}"
    async with host.running(), server:
        chosen = {
            "TRUNKLINE_BACKEND_LISTEN": echo,
            "TRUNKLINE_TRANSCEIVER_BACKENDS": f"agent=127.0.0.1:{server.port},echo={echo}*0",
            **variables,
        }
        async with Stack(StackSettings(chosen)) as stack:
            yield Agents(stack, server, chat)


PROFILE = AgentProfile(
    session={
        "audio": {
            "input": {
                "turn_detection": {"type": "semantic_vad"},
                "transcription": {"model": "stand-in"},
            }
        }
    }
)
