"""Smart Turn v3 on onnxruntime: it judges whether a melody ends a turn.

https://github.com/pipecat-ai/smart-turn (BSD-2-Clause); the weights come with the wheel pipecat-ai,
of which nothing else is used. The model hears the last 8 s, the newest sound at the end, as
Whisper's log-mel spectrum of 800 frames.
"""

from __future__ import annotations

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from backends.agent.models import SAMPLE_RATE_HZ, ModelFailure
from backends.voice.pool import FairPool, PoolFull, Urgency
from backends.voice.silero import as_float, one_thread, package_file

HEARD_S = 8
HEARD_SAMPLES = HEARD_S * SAMPLE_RATE_HZ
WEIGHTS = "audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"
_QUIET = 1e-7  # keeps the variance of silence from zero, as in the model's training


class SmartTurn:
    """Works in `pool`. Raises ModuleNotFoundError when the wheel with the model is missing."""

    def __init__(self, pool: FairPool) -> None:
        self._pool = pool
        self._session = one_thread(package_file("pipecat", WEIGHTS))
        self._features = FeatureExtractor(chunk_length=HEARD_S)

    async def probability(self, call: str, pcm: bytes) -> float:
        """As EndOfTurn."""
        try:
            return await self._pool.run(call, Urgency.NOW, lambda: self.judge(pcm))
        except PoolFull:
            raise ModelFailure("stt", "overloaded") from None

    def judge(self, pcm: bytes) -> float:
        """How likely the turn `pcm` is complete; takes 30–80 ms of a core."""
        heard = as_float(pcm[-2 * HEARD_SAMPLES :])
        sound = np.pad(heard, (HEARD_SAMPLES - len(heard), 0))
        mel = self._features(_normalised(sound), padding=0)[:, : HEARD_S * 100]
        (probability,) = self._session.run(None, {"input_features": mel[np.newaxis]})
        return float(probability[0].item())


def _normalised(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean 0 and variance 1, as the model was trained."""
    level = np.sqrt(sound.var() + _QUIET)
    return np.asarray((sound - sound.mean()) / level, np.float32)
