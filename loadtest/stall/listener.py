"""A caller who speaks in real time and writes down what comes: packets, and when they came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from loadtest.callers.calling import Connection, calling
from loadtest.callers.dtls import Identity
from loadtest.stall import speech
from loadtest.stall.backends import asks
from loadtest.target import Target

CHECK_EVERY = 125  # frames, as Chrome


@dataclass
class Listener:
    """What one caller heard, in order of arrival: Unix time, number of the packet, payload."""

    backend: str
    manner: str
    call_id: str = ""
    heard: list[tuple[float, int, bytes]] = field(default_factory=list)
    _connection: Connection | None = None

    @property
    def name(self) -> str:
        """For the report."""
        return f"{self.manner} {self.backend}"

    def hear(self, packet: bytes, came_s: float) -> None:
        """Take a media packet."""
        if self._connection is None:
            return
        voice = self._connection.voice
        number = voice.number(packet)
        payload = voice.open(packet)
        if payload is not None:
            self.heard.append((came_s, number, payload))

    async def speak(self, connection: Connection, begin: asyncio.Event) -> None:
        """Speak until cancelled; what could not be said in time follows at once."""
        self._connection = connection
        self.call_id = connection.answer.call_url.rpartition("/")[2]
        await begin.wait()
        number = speech.frame_at(time.time())
        while True:
            await asyncio.sleep(speech.due_s(number) - time.time())
            connection.say(speech.packets()[number % speech.FRAMES])
            if not number % CHECK_EVERY:
                connection.check()
            number += 1


@asynccontextmanager
async def listening(
    http: aiohttp.ClientSession,
    target: Target,
    identity: Identity,
    listener: Listener,
    begin: asyncio.Event,
) -> AsyncIterator[None]:
    """On the line for the length of the block, speaking from `begin` on. Raises CallFailedError."""
    session_json = asks(listener.backend, listener.manner)
    async with calling(http, target, identity, listener.hear, session_json) as connection:
        speaking = asyncio.create_task(listener.speak(connection, begin))
        try:
            yield
        finally:
            speaking.cancel()
            await asyncio.wait({speaking})
