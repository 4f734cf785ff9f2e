"""A backend that answers when the caller pauses, and stops when it is interrupted.

    python -m loadtest.peers.talker

It knows the packets of `loadtest.live.speaking` by heart, so it needs no codec and no voice
detection; what it measures is how fast an interruption reaches the caller's ear.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from backends.operated import serve
from backends.settings import BackendSettings
from fleet.ending import end
from fleet.settings import load
from loadtest.live.speaking import FRAMES_PER_S, vocabulary
from trunkline.backend import Audio, Call, CallOver

PAUSE_FRAMES = 15
"""300 ms without speech end a turn."""
ANSWER_FRAMES = 6 * FRAMES_PER_S
"""Longer than any pause of a caller who barges in."""


class Turns:
    """When to talk and when to stop, by the caller's frames. Pure."""

    def __init__(self) -> None:
        self._loud = frozenset(vocabulary().loud)
        self._spoke = False
        self._quiet = 0

    def hear(self, words: bytes) -> str | None:
        """`interrupt` when the caller speaks, `answer` when a turn is over, else None."""
        if words in self._loud:
            starts = not self._spoke
            self._spoke, self._quiet = True, 0
            return "interrupt" if starts else None
        self._quiet += 1
        if self._spoke and self._quiet == PAUSE_FRAMES:
            self._spoke = False
            return "answer"
        return None


async def talk(call: Call) -> None:
    """One call."""
    turns, answer = Turns(), None
    try:
        async for event in call.events():
            verdict = turns.hear(event.payload) if isinstance(event, Audio) else None
            if verdict == "interrupt" and answer is not None:
                await end([answer])
                await call.clear()
                answer = None
            elif verdict == "answer":
                answer = asyncio.create_task(_answer(call))
    finally:
        if answer is not None:
            await end([answer])


async def _answer(call: Call) -> None:
    words = vocabulary().loud
    with suppress(CallOver):
        for frame in range(ANSWER_FRAMES):
            await call.send_audio(words[frame % len(words)])


if __name__ == "__main__":
    vocabulary()  # before the port is there: encoding takes a while
    serve(talk, load(BackendSettings, "python -m loadtest.peers.talker"))
