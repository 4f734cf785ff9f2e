"""The backends of `stall`: one that echoes, one that talks in real time, one that sends ahead."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from backends.echo import echo
from launcher.addresses import LOOPBACK
from loadtest.stall import speech
from trunkline.backend import Address, AudioFormat, Backend, BackendServer, Call

ECHO, TALK, RECITE = "echo", "talk", "recite"
FORMATS = {"opus": AudioFormat.OPUS, "pcm": AudioFormat.PCM16_16000}
RECITAL_EVERY_S = 7.0


class Backends:
    """One for each format, on ports of their own; a call says what it wants.

    Nobody speaks before `begin`, so that sound is not late from the start because calls are set up.
    `recited` counts the frames that were sent ahead, by call id.
    """

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.recited: Counter[str] = Counter()
        self.reciting = True
        self.begin = asyncio.Event()

    @property
    def setting(self) -> str:
        """TRUNKLINE_TRANSCEIVER_BACKENDS."""
        return ",".join(f"{name}={address}" for name, address in self.addresses.items())

    async def handle(self, call: Call) -> None:
        """One call."""
        await self.begin.wait()
        match json.loads(call.session_json)["instructions"]:
            case "talk":
                await _talk(call)
            case "recite":
                await self._recite(call)
            case _:
                await echo(call)

    async def _recite(self, call: Call) -> None:
        while True:
            for frame in _frames(call) if self.reciting else ():
                await call.send_audio(frame)
                self.recited[call.id] += 1
            await asyncio.sleep(RECITAL_EVERY_S)


async def _talk(call: Call) -> None:
    """Each frame when it is due; those that could not be sent in time follow at once."""
    frames = _frames(call)
    number = speech.frame_at(time.time())
    while True:
        await asyncio.sleep(speech.due_s(number) - time.time())
        await call.send_audio(frames[number % speech.FRAMES])
        number += 1


def _frames(call: Call) -> tuple[bytes, ...]:
    return speech.packets() if call.audio_format is AudioFormat.OPUS else speech.pcm()


@asynccontextmanager
async def serving() -> AsyncIterator[Backends]:
    """Both, for the length of the block."""
    backends = Backends()
    async with AsyncExitStack() as stack:
        for name, audio_format in FORMATS.items():
            backend = Backend(backends.handle, name, accepts=(audio_format,))
            server = BackendServer(backend, Address(LOOPBACK, 0))
            await stack.enter_async_context(server)
            backends.addresses[name] = str(Address(LOOPBACK, server.port))
        yield backends


def asks(backend: str, manner: str) -> str:
    """The session object of a caller who wants that backend to do that."""
    return json.dumps(
        {"type": "realtime", "instructions": manner, "trunkline": {"backend": backend}}
    )
