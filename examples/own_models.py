"""Your own speech-to-text, chat and speech models behind one OpenAI-compatible server.

A turn ends when the caller has been quiet for 0.6 s. It goes to the models one after another, and
the answer is played; who speaks meanwhile is listened to, and the answer is forgotten.
`backends/openai_pipeline` does the same with streaming, voice detection and tools.

MODELS_URL=http://127.0.0.1:8000/v1 make run BACKEND=examples/own_models.py:agent
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import urllib.request
import wave
from array import array

from trunkline.backend import Audio, AudioFormat, Backend, Call, serve

URL = os.environ.get("MODELS_URL", "http://127.0.0.1:8000/v1")
log = logging.getLogger("trunkline.examples.own_models")
KEY = os.environ.get("MODELS_KEY", "none")
FORMAT = AudioFormat.PCM16_24000  # what /audio/speech gives for "pcm"
TIMEOUT_S = 30
LOUD = 1500  # of 32,767; a quiet room is below
QUIET_FRAMES = 30  # 0.6 s end a turn
MAX_TURN_BYTES = 30 * FORMAT.rate_hz * 2  # 30 s


class Ear:
    """Sound in, whole turns out."""

    def __init__(self) -> None:
        self.turn = b""
        self._quiet = 0

    def hear(self, pcm: bytes) -> bytes | None:
        """A frame; the turn that it ends, if it does."""
        loud = max(map(abs, array("h", pcm)), default=0) > LOUD
        self._quiet = 0 if loud else self._quiet + 1
        if loud or self.turn:
            self.turn += pcm
        if self.turn and (self._quiet >= QUIET_FRAMES or len(self.turn) > MAX_TURN_BYTES):
            turn, self.turn = self.turn, b""
            return turn
        return None


def post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """Ask the server. Raises OSError when it does not answer, or not with 200."""
    headers = {"Content-Type": content_type, "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(URL + path, body, headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        return bytes(response.read())


def transcribe(pcm: bytes) -> str:
    """What was said in a turn."""
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, FORMAT.rate_hz, 0, "NONE", ""))
        file.writeframes(pcm)
    part = '--form\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    form = (part.format("model", "") + "whisper-1\r\n").encode()
    form += part.format("file", '; filename="turn.wav"').encode() + sound.getvalue()
    form += b"\r\n--form--"
    answer = json.loads(post("/audio/transcriptions", form, "multipart/form-data; boundary=form"))
    return str(answer["text"])


def think(messages: list[dict[str, str]]) -> str:
    """The chat model's answer."""
    asked = {"model": "chat", "messages": messages}
    answer = json.loads(post("/chat/completions", json.dumps(asked).encode()))
    return str(answer["choices"][0]["message"]["content"])


def speak(text: str) -> bytes:
    """The answer as sound."""
    asked = {"model": "speech", "voice": "alloy", "input": text, "response_format": "pcm"}
    return post("/audio/speech", json.dumps(asked).encode())


async def reply(call: Call, turn: bytes, messages: list[dict[str, str]]) -> None:
    """Answer one turn. A model that fails costs its turn, and not the call."""
    try:
        await call.send_pcm(await spoken(turn, messages))
    except (OSError, ValueError, LookupError):
        log.exception("turn_failed", extra={"call_id": call.id})


async def spoken(turn: bytes, messages: list[dict[str, str]]) -> bytes:
    """What the models make of a turn."""
    words = await asyncio.to_thread(transcribe, turn)
    messages.append({"role": "user", "content": words})
    answer = await asyncio.to_thread(think, messages)
    messages.append({"role": "assistant", "content": answer})
    return await asyncio.to_thread(speak, answer)


async def converse(call: Call) -> None:
    """Listen all the time; one answer at a time."""
    ear, replying = Ear(), None
    messages = [{"role": "system", "content": "You are on the phone. Be brief."}]
    async with asyncio.TaskGroup() as tasks:
        async for event in call.events():
            if not isinstance(event, Audio):
                continue
            turn = ear.hear(event.payload)
            if ear.turn and replying:
                replying.cancel()
                replying = None
                await call.clear()
            if turn:
                replying = tasks.create_task(reply(call, turn, messages))


agent = Backend(converse, "own_models", accepts=(FORMAT,))

if __name__ == "__main__":
    serve(agent)
