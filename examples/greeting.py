"""A greeting out of a WAV file (16 bit, mono); when the caller has heard it, the call ends.

GREETING=hello.wav make run BACKEND=examples/greeting.py:greeting
"""

from __future__ import annotations

import math
import os
import wave
from pathlib import Path

from trunkline.backend import AudioFormat, Backend, Call, Playout, serve

DEFAULT = Path(__file__).resolve().parent.parent / "loadtest/assets/speech.wav"
FORMATS = {audio.rate_hz: audio for audio in AudioFormat if audio is not AudioFormat.OPUS}

with wave.open(os.environ.get("GREETING", str(DEFAULT))) as file:
    if file.getnchannels() != 1 or file.getsampwidth() != 2 or file.getframerate() not in FORMATS:
        raise ValueError(f"GREETING is not 16-bit mono at one of {', '.join(map(str, FORMATS))} Hz")
    FORMAT = FORMATS[file.getframerate()]
    SOUND = file.readframes(file.getnframes())
FRAMES = math.ceil(len(SOUND) / FORMAT.frame_bytes)


async def greet(call: Call) -> None:
    """Speak, wait until all of it has left; a handler that returns hangs up."""
    await call.send_pcm(SOUND)
    async for event in call.events():
        if isinstance(event, Playout) and event.sent >= FRAMES:
            return


greeting = Backend(greet, "greeting", accepts=(FORMAT,))

if __name__ == "__main__":
    serve(greeting)
