"""The walk of ARCHITECTURE.md names the functions that are called, in the order of the calls."""

from __future__ import annotations

import asyncio

from aiohttp import ClientSession

from tests.backends.kit import soon
from tests.docs.whole_path import SteppedCaller, traced, whole_path


async def test_dump(redis_url: str) -> None:
    async with whole_path(redis_url) as (target, backend), ClientSession() as http:
        caller = SteppedCaller(http, target)
        with traced() as offer:
            calling = await caller.connect()
        call = await backend.call
        with traced() as packet:
            caller.say()
            await soon(backend.heard.wait())
        await asyncio.sleep(0.2)
        with traced() as frame:
            await call.send_audio(b"\xf8answer", 960)
            await soon(caller.hear())
        caller.done.set()
        await soon(calling)
    for name, trace in (("OFFER", offer), ("PACKET", packet), ("FRAME", frame)):
        print("=====", name)
        for step in trace.steps:
            print(*step)
