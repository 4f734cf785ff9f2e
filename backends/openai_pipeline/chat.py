"""A chat model by `POST {url}/chat/completions`, streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDeltaToolCall

from backends.agent.models import ChatEvent, ChatMessage, TextDelta, TokenUsage, ToolCall
from backends.openai_pipeline.server import Server

MAX_ANSWER_CHARS = 64 * 1024  # words and arguments; a model that goes on is mad
OPENAI_HOST = "api.openai.com"


class HttpChat:
    """Answers on `server`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        # Compatible servers know the older name; OpenAI's newer models know the newer one only.
        newer = server.client.base_url.host == OPENAI_HOST
        self._limit_name = "max_completion_tokens" if newer else "max_tokens"

    async def stream(
        self,
        call: str,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] = (),
        max_tokens: int | None = None,
    ) -> AsyncIterator[ChatEvent]:
        """As ChatModel; leaving the iterator closes the connection, which ends the work there."""
        del call
        body: dict[str, Any] = {"tools": list(tools)} if tools else {}
        if max_tokens is not None:
            body[self._limit_name] = max_tokens
        stream = await self._server.ask(lambda: self._open(messages, body))
        answer = _Answer()
        async with stream:
            with self._server.failures(begun=True):
                async for chunk in stream:
                    for event in answer.take(chunk):
                        yield event
                    if answer.chars > MAX_ANSWER_CHARS:
                        raise self._server.failure("overlong")
        if not answer.finished:
            raise self._server.failure("cut_off")
        for event in answer.rest():
            yield event

    async def prime(self, call: str, messages: Sequence[ChatMessage]) -> None:
        """Nothing: these servers have no way to be told what is coming."""

    async def _open(
        self, messages: Sequence[ChatMessage], body: dict[str, Any]
    ) -> openai.AsyncStream[ChatCompletionChunk]:
        stream: openai.AsyncStream[ChatCompletionChunk]
        stream = await self._server.client.chat.completions.create(
            model=self._server.model,
            messages=cast(Any, list(messages)),  # they are as the API has them
            stream=True,
            stream_options={"include_usage": True},
            extra_body=body,
        )
        return stream


@dataclass
class _Call:
    """A tool call as it comes in."""

    call_id: str = ""
    name: str = ""
    arguments: str = ""


class _Answer:
    """What a stream has said so far."""

    def __init__(self) -> None:
        self.finished = False
        self.chars = 0
        self._calls: dict[int, _Call] = {}
        self._usage: CompletionUsage | None = None

    def take(self, chunk: ChatCompletionChunk) -> Iterator[ChatEvent]:
        """What a chunk adds that can be acted upon at once: words."""
        self._usage = chunk.usage or self._usage
        for choice in chunk.choices[:1]:
            self.finished = self.finished or choice.finish_reason is not None
            for piece in choice.delta.tool_calls or ():
                self._take_call(piece)
            if choice.delta.content:
                self.chars += len(choice.delta.content)
                yield TextDelta(choice.delta.content)

    def rest(self) -> Iterator[ChatEvent]:
        """What is known at the end: whole calls, in their order, and the usage."""
        for index in sorted(self._calls):
            call = self._calls[index]
            yield ToolCall(call.call_id, call.name, call.arguments)
        if self._usage is not None:
            details = self._usage.prompt_tokens_details
            cached = (details.cached_tokens if details else None) or 0
            yield TokenUsage(self._usage.prompt_tokens, cached, self._usage.completion_tokens)

    def _take_call(self, piece: ChoiceDeltaToolCall) -> None:
        call = self._calls.setdefault(piece.index, _Call())
        call.call_id = call.call_id or piece.id or ""
        if piece.function is not None:
            call.name += piece.function.name or ""
            call.arguments += piece.function.arguments or ""
            self.chars += len(piece.function.arguments or "") + 1
