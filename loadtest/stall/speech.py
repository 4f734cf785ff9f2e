"""Five seconds of speech that begin anew for ever, on a grid of the wall clock that all know.

Frame n of the day is said at n times 20 ms, by whoever speaks. So what is heard tells when it was
said, in any format and through any codec: by where in the five seconds it is.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from loadtest.callers.opus_packets import encode
from loadtest.sound import FRAME_SAMPLES, SAMPLE_RATE_HZ, SPEECH, Samples, in_frames, read_wav

FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
FRAMES = 250
LOOP_S = FRAMES * FRAME_S
PCM_HZ = 16_000
FADE = 480  # samples: without it the seam of the loop would click


@cache
def loop() -> Samples:
    """The five seconds, silent at the seam."""
    sound = read_wav(SPEECH)[: FRAMES * FRAME_SAMPLES].astype(np.float64)
    rise = np.linspace(0.0, 1.0, FADE)
    sound[:FADE] *= rise
    sound[-FADE:] *= rise[::-1]
    return sound.astype(np.int16)


@cache
def packets() -> tuple[bytes, ...]:
    """As Opus, one packet a frame; what comes round again follows the end smoothly."""
    return tuple(encode(np.concatenate([loop(), loop()]))[FRAMES : 2 * FRAMES])


@cache
def pcm() -> tuple[bytes, ...]:
    """As 16-bit PCM of `PCM_HZ`."""
    every = SAMPLE_RATE_HZ // PCM_HZ
    return tuple(
        frame.reshape(-1, every).mean(axis=1).astype("<i2").tobytes() for frame in in_frames(loop())
    )


def frame_at(unix_s: float) -> int:
    """The number of the frame that is due next."""
    return int(unix_s / FRAME_S) + 1


def due_s(frame: int) -> float:
    """When a frame is said."""
    return frame * FRAME_S
