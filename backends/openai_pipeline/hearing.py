"""Speech to text by `POST {url}/audio/transcriptions`, a turn at a time."""

from __future__ import annotations

import io
import wave

import openai

from backends.agent.models import BYTES_PER_MS, SAMPLE_RATE_HZ
from backends.openai_pipeline.server import Server

MAX_TURN_S = 120  # of sound; what a caller says beyond it is not heard
SHORTEST_MS = 100  # servers refuse less, and nobody says anything in it
MAX_TEXT_CHARS = 16 * 1024  # nobody says more in two minutes


class HttpSpeechToText:
    """Transcribes on `server`. With `partials` every partial text is a request of its own."""

    def __init__(self, server: Server, language: str = "", partials: bool = False) -> None:
        self.partials = partials
        self._server = server
        self._language = language

    def listen(self, call: str) -> HttpHearing:
        """A new turn."""
        del call
        return HttpHearing(self)

    async def transcribe(self, pcm: bytes) -> str:
        """The words of a whole turn. Raises ModelFailure."""
        sound = ("turn.wav", as_wav(pcm), "audio/wav")
        answer = await self._server.ask(
            lambda: self._server.client.audio.transcriptions.create(
                file=sound,
                model=self._server.model,
                language=self._language or openai.omit,
                response_format="json",
            )
        )
        text = getattr(answer, "text", None)
        if not isinstance(text, str):
            raise self._server.failure("malformed")
        return text.strip()[:MAX_TEXT_CHARS]


class HttpHearing:
    """One turn."""

    def __init__(self, model: HttpSpeechToText) -> None:
        self._model = model
        self._pcm = bytearray()
        self._text = ""
        self._working = False

    def feed(self, pcm: bytes) -> None:
        """More sound."""
        room = MAX_TURN_S * 1000 * BYTES_PER_MS - len(self._pcm)
        self._pcm += pcm[: max(0, room)]

    async def text(self, *, final: bool) -> str:
        """As Hearing; a request that is not final never waits behind another."""
        if len(self._pcm) < SHORTEST_MS * BYTES_PER_MS or (self._working and not final):
            return self._text
        self._working = True
        try:
            self._text = await self._model.transcribe(bytes(self._pcm))
        finally:
            self._working = False
        return self._text


def as_wav(pcm: bytes) -> bytes:
    """Sound as a WAV file in memory."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE_HZ)
        writer.writeframes(pcm)
    return file.getvalue()
