"""A backend that talks without a pause, and answers each message with what it knows of the call.

    python -m loadtest.peers.survivor

Its sound never stops, so that a gap at the caller's ear is a gap of somebody's making. The answer
to message n names n, and how many messages the conversation has had.
"""

from __future__ import annotations

import asyncio
import json
import time

from backends.operated import serve
from backends.settings import BackendSettings
from fleet.settings import load
from loadtest.stall import speech
from trunkline.backend import AudioFormat, Backend, Call, Text

LABEL = "survive"


async def survive(call: Call) -> None:
    """One call."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_talk(call))
        tasks.create_task(_answer(call))


async def _answer(call: Call) -> None:
    known = int(call.restored.snapshot or b"0") if call.restored else 0
    async for event in call.events():
        if isinstance(event, Text):
            known += 1
            call.remember(b"%d" % known)
            reply = {"number": json.loads(event.text)["number"], "known": known}
            await call.send_text(LABEL, json.dumps(reply))


async def _talk(call: Call) -> None:
    """Each frame when it is due; those that could not be sent in time follow at once."""
    frames, number = speech.packets(), speech.frame_at(time.time())
    while True:
        await asyncio.sleep(speech.due_s(number) - time.time())
        await call.send_audio(frames[number % speech.FRAMES])
        number += 1


if __name__ == "__main__":
    speech.packets()  # before the port is there: encoding takes a while
    serve(
        Backend(survive, "survivor", accepts=(AudioFormat.OPUS,)),
        load(BackendSettings, "python -m loadtest.peers.survivor"),
    )
