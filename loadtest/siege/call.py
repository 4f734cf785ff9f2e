"""A call of the hostile customer: placed as everybody places one, and then not like everybody."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from loadtest.callers.port import Later
from loadtest.live.call import LiveCall, leave, place
from loadtest.live.order import Mix
from loadtest.siege.ground import Ground


@asynccontextmanager
async def hostile_call(
    ground: Ground, session: aiohttp.ClientSession, backend: str | None = None
) -> AsyncIterator[LiveCall]:
    """A connected call for the length of the block. Raises CallFailedError."""
    mix = Mix(name="hostile", backend=backend)
    call = await place(
        session, ground.target, ground.identity, mix, Later(), slot=0, phase=0, seed=1
    )
    try:
        yield call
    finally:
        await leave(session, call)


def hear(call: LiveCall) -> None:
    """Take what has come, and answer it as it wants."""
    call.port.receive(call.hear, time.time())
