"""A call with the least a client can do: one UDP socket, one check, DTLS, a few packets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import aiohttp

from loadtest.callers.calling import calling
from loadtest.callers.dtls import Identity
from loadtest.callers.voice import Voice
from loadtest.errors import CallFailedError
from loadtest.target import Target


class LightCaller:
    """Places one call; `setup_ms` is set when the first media packet came back.

    `packets` are Opus payloads, sent at once; the call is good when `echoes` packets came back.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        target: Target,
        identity: Identity,
        packets: Sequence[bytes],
        echoes: int,
    ) -> None:
        self._session = session
        self._target = target
        self._identity = identity
        self._packets = packets
        self._missing = echoes
        self._voice: Voice | None = None
        self._heard_all = asyncio.Event()
        self._posted_s = 0.0
        self._step = "connect"
        self.setup_ms: float | None = None

    async def place(self, timeout_s: float) -> None:
        """Call, hear the packets echoed, hang up. Raises CallFailedError."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._call()
        except TimeoutError:
            raise CallFailedError(f"timeout_{self._step}") from None

    async def _call(self) -> None:
        self._posted_s = time.monotonic()
        async with calling(self._session, self._target, self._identity, self._hear) as connection:
            self._voice, self._step = connection.voice, "media"
            for payload in self._packets:
                connection.say(payload)
            await self._heard_all.wait()

    def _hear(self, packet: bytes, _came_s: float) -> None:
        if self._voice is None or self._voice.open(packet) is None:
            return
        if self.setup_ms is None:
            self.setup_ms = 1000 * (time.monotonic() - self._posted_s)
        self._missing -= 1
        if self._missing <= 0:
            self._heard_all.set()
