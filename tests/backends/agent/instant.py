"""Stand-ins for the models that take no time: only what is around them is on the clock.

The voice meter hears loudness, the transcript says how long the turn was, the answer is one
sentence, its sound a tone of as many words. For measurements and tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np

from backends.agent.models import (
    BYTES_PER_MS,
    SAMPLE_RATE_HZ,
    ChatEvent,
    ChatMessage,
    Models,
    TextDelta,
    TokenUsage,
)

VOICED_RMS = 200.0  # −44 dBFS
MS_PER_WORD = 300
TONE_HZ = 440
ANSWER = "This is an instant answer. It took no time to think of."


def instant_models() -> Models:
    """One of each."""
    return Models(LoudnessMeter(), InstantSpeechToText(), InstantChat(), ToneVoice(), Certain())


class LoudnessMeter:
    """A voice is what is loud."""

    def meter(self) -> LoudnessMeter:
        """Itself: it keeps nothing."""
        return self

    def probability(self, window: bytes) -> float:
        """1 or 0."""
        samples = np.frombuffer(window, dtype="<i2").astype(np.float32)
        return float(np.sqrt(np.mean(samples**2)) >= VOICED_RMS)


class Certain:
    """Every pause ends a turn."""

    async def probability(self, call: str, pcm: bytes) -> float:
        """1."""
        del call, pcm
        return 1.0


class InstantSpeechToText:
    """Counts the seconds."""

    partials = True

    def listen(self, call: str) -> InstantHearing:
        """A new turn."""
        del call
        return InstantHearing()


class InstantHearing:
    """One turn."""

    def __init__(self) -> None:
        self._size_bytes = 0

    def feed(self, pcm: bytes) -> None:
        """Count it."""
        self._size_bytes += len(pcm)

    async def text(self, *, final: bool) -> str:
        """How long it was."""
        del final
        seconds = self._size_bytes / BYTES_PER_MS / 1000
        return f"I spoke for {seconds:.1f} seconds."


class InstantChat:
    """Always says ANSWER."""

    async def stream(
        self,
        call: str,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] = (),
        max_tokens: int | None = None,
    ) -> AsyncIterator[ChatEvent]:
        """Word by word."""
        del call, tools, max_tokens
        words = ANSWER.split(" ")
        for word in words:
            yield TextDelta(word + " ")
        yield TokenUsage(len(messages), 0, len(words))

    async def prime(self, call: str, messages: Sequence[ChatMessage]) -> None:
        """Nothing to do."""


class ToneVoice:
    """A tone as long as the words would take."""

    async def speak(self, call: str, text: str, voice: str = "") -> AsyncIterator[bytes]:
        """The tone."""
        del call, voice
        samples = len(text.split()) * MS_PER_WORD * SAMPLE_RATE_HZ // 1000
        time_s = np.arange(samples) / SAMPLE_RATE_HZ
        tone = 8000 * np.sin(2 * np.pi * TONE_HZ * time_s)
        yield tone.astype("<i2").tobytes()
