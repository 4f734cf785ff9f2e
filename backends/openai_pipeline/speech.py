"""Text to speech by `POST {url}/audio/speech`, streamed as raw PCM."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack
from typing import Any

import av
import numpy as np
from openai._response import AsyncAPIResponse

from backends.agent.models import BYTES_PER_MS, SAMPLE_RATE_HZ
from backends.openai_pipeline.server import Server

MAX_CLAUSE_S = 120  # of sound for one clause; a server that goes on is mad
CHUNK_BYTES = 4096
# What a server sends that did not understand `response_format`; played as PCM it would be noise.
_OTHER_FORMATS = ("audio/mpeg", "audio/wav", "audio/ogg", "audio/flac", "application/json", "text/")


class HttpTextToSpeech:
    """Speaks on `server` with `voice`, or with another of `voices` when a call asks for it.

    `rate_hz` is the rate of the server's PCM: 24,000 for OpenAI's and for most others.
    """

    def __init__(
        self, server: Server, voice: str, voices: Collection[str] = (), rate_hz: int = 24_000
    ) -> None:
        self._server = server
        self._voice = voice
        self._voices = frozenset(voices)
        self._rate_hz = rate_hz

    async def speak(self, call: str, text: str, voice: str = "") -> AsyncIterator[bytes]:
        """As TextToSpeech; leaving the iterator closes the connection."""
        del call
        chosen = voice if voice in self._voices else self._voice
        resampler = Resampler(self._rate_hz)
        room_bytes = MAX_CLAUSE_S * 1000 * BYTES_PER_MS
        async with AsyncExitStack() as stack:
            response = await self._server.ask(lambda: self._open(stack, text, chosen))
            if response.headers.get("content-type", "").startswith(_OTHER_FORMATS):
                raise self._server.failure("not_pcm")
            with self._server.failures(begun=True):
                async for chunk in response.iter_bytes(CHUNK_BYTES):
                    if sound := resampler.feed(chunk):
                        room_bytes -= len(sound)
                        yield sound
                    if room_bytes < 0:
                        raise self._server.failure("overlong")
        if sound := resampler.end():
            yield sound

    async def _open(self, stack: AsyncExitStack, text: str, voice: str) -> AsyncAPIResponse[Any]:
        speech = self._server.client.audio.speech.with_streaming_response
        request = speech.create(
            input=text, model=self._server.model, voice=voice, response_format="pcm"
        )
        return await stack.enter_async_context(request)


class Resampler:
    """16-bit mono at `rate_hz` in pieces of any length, to SAMPLE_RATE_HZ."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
        self._odd = b""  # half a sample

    def feed(self, pcm: bytes) -> bytes:
        """What can be said of the sound so far."""
        pcm = self._odd + pcm
        whole = len(pcm) & ~1
        self._odd = pcm[whole:]
        if not whole:
            return b""
        samples = np.frombuffer(pcm[:whole], dtype="<i2").reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = self._rate_hz
        return _joined(self._resampler.resample(frame))

    def end(self) -> bytes:
        """The rest."""
        return _joined(self._resampler.resample(None))


def _joined(frames: list[av.AudioFrame]) -> bytes:
    return b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in frames)
