"""A tone for as long as the caller listens: sound that a backend makes by itself.

make run BACKEND=examples/tone.py:tone
"""

from __future__ import annotations

import math
from array import array

from trunkline.backend import AudioFormat, Backend, Call, serve

FREQUENCY_HZ = 440
FORMAT = AudioFormat.PCM16_16000
PEAK = 8000  # of 32,767: some 12 dB below the loudest

SECOND = array(
    "h",
    (
        round(PEAK * math.sin(2 * math.pi * FREQUENCY_HZ * n / FORMAT.rate_hz))
        for n in range(FORMAT.rate_hz)
    ),
).tobytes()


async def play(call: Call) -> None:
    """Send the same second again and again; sending waits until the caller has heard enough."""
    while True:
        await call.send_pcm(SECOND)


tone = Backend(play, "tone", accepts=(FORMAT,))

if __name__ == "__main__":
    serve(tone)
