"""Keeps the sound of common phrases, bounded; the least used is removed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator

from backends.agent.models import TextToSpeech

MAX_BYTES = 32 * 1024 * 1024  # 17 minutes
MAX_CHARS = 60  # longer clauses do not come again


class CachedSpeech:
    """A TextToSpeech that remembers the clauses of up to MAX_CHARS that `inner` spoke."""

    def __init__(self, inner: TextToSpeech, max_bytes: int = MAX_BYTES) -> None:
        self.hits = 0
        self._inner = inner
        self._max_bytes = max_bytes
        self._sounds: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size_bytes = 0

    async def warm(self, phrases: tuple[str, ...], voice: str = "") -> None:
        """Speak phrases ahead. Raises ModelFailure."""
        for phrase in phrases:
            async for _ in self.speak("", phrase, voice):
                pass

    async def speak(self, call: str, text: str, voice: str = "") -> AsyncIterator[bytes]:
        """As TextToSpeech."""
        key = (text, voice)
        if key in self._sounds:
            self.hits += 1
            self._sounds.move_to_end(key)
            yield self._sounds[key]
            return
        pieces = []
        async for pcm in self._inner.speak(call, text, voice):
            pieces.append(pcm)
            yield pcm
        if len(text) <= MAX_CHARS:
            self._keep(key, b"".join(pieces))

    def _keep(self, key: tuple[str, str], sound: bytes) -> None:
        if key in self._sounds or len(sound) > self._max_bytes:
            return
        self._sounds[key] = sound
        self._size_bytes += len(sound)
        while self._size_bytes > self._max_bytes:
            _, oldest = self._sounds.popitem(last=False)
            self._size_bytes -= len(oldest)
