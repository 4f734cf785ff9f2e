"""The same models without overlap, for comparison. It reads and writes lines of JSON.

    {"pcm_48k": base64 of 16-bit sound}  →  {"stt_ms", "llm_ms", "tts_ms", "total_ms"}

The whole utterance is written down, the whole answer is thought of, the whole answer is spoken:
what a program does that calls one model after another. `total_ms` is when its first sound is there,
without the wait for the end of the turn. Answers are as long as the model makes them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time

import numpy as np

from backends.agent.models import Models, TextDelta
from backends.agent.settings import INSTRUCTIONS
from backends.voice.local import local_models
from fleet.errors import StartupError

DECIMATION = 3  # 48 kHz to 16 kHz


async def answer(models: Models, pcm: bytes) -> dict[str, float]:
    """Do one after the other; how long each took."""
    began = time.perf_counter()
    hearing = models.hear.listen("sequential")
    hearing.feed(pcm)
    words = await hearing.text(final=True)
    written = time.perf_counter()
    messages = [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": words},
    ]
    stream = models.think.stream("sequential", messages)
    text = "".join([event.text async for event in stream if isinstance(event, TextDelta)])
    thought = time.perf_counter()
    async for _ in models.speak.speak("sequential", text):
        pass
    spoken = time.perf_counter()
    moments = {"stt_ms": written - began, "llm_ms": thought - written, "tts_ms": spoken - thought}
    took_ms = {name: round(1000 * took_s, 1) for name, took_s in moments.items()}
    return {**took_ms, "total_ms": round(sum(took_ms.values()), 1)}


async def main() -> None:
    """Answer every line of stdin."""
    async with local_models((), ()) as models:
        for line in sys.stdin:
            sound = np.frombuffer(base64.b64decode(json.loads(line)["pcm_48k"]), "<i2")
            kept = sound[: len(sound) // DECIMATION * DECIMATION].reshape(-1, DECIMATION)
            pcm = kept.mean(axis=1).astype("<i2").tobytes()
            sys.stdout.write(json.dumps(await answer(models, pcm)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except StartupError as error:
        sys.exit(str(error))
