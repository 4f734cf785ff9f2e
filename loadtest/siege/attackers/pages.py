"""Pages and application servers that say more than anybody can mean."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp

from loadtest.errors import CallFailedError, CallRefusedError
from loadtest.live.call import LiveCall
from loadtest.siege.call import hear, hostile_call
from loadtest.siege.ground import Ground

SIDE_BANDS = 30
BURST = 200
_EVENTS = [
    json.dumps(event)
    for event in (
        {"type": "response.create"},
        {"type": "session.update", "session": {"type": "realtime", "instructions": "x" * 9000}},
        {"type": "conversation.item.create", "item": {"type": [[]], "content": [{"type": {}}]}},
        {"type": "input_audio_buffer.append", "audio": "A" * 40_000},
        {"type": {"a": 1}},
    )
] + ["[" * 5000, "{", "9" * 9000, '"\\ud800"']


async def side_bands(ground: Ground) -> None:
    """Side bands by the dozen that flood, and do not read what they are told."""
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(CallFailedError, CallRefusedError):
                async with hostile_call(ground, session) as call, asyncio.TaskGroup() as group:
                    for number in range(SIDE_BANDS):
                        flood = _flood(ground, session, call, "side bands", reads=number % 2 == 0)
                        group.create_task(flood)
                    group.create_task(_listen(call))
            await asyncio.sleep(0.2)


async def page_events(ground: Ground) -> None:
    """One side band that says what a page says, as fast as it is taken."""
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(CallFailedError, CallRefusedError):
                async with hostile_call(ground, session) as call, asyncio.TaskGroup() as group:
                    group.create_task(_listen(call))
                    group.create_task(_flood(ground, session, call, "page events", reads=True))
            await asyncio.sleep(0.2)


async def _listen(call: LiveCall) -> None:
    while not call.closed:
        hear(call)
        await asyncio.sleep(0.02)


async def _flood(
    ground: Ground, session: aiohttp.ClientSession, call: LiveCall, name: str, *, reads: bool
) -> None:
    call_id = call.answer.call_url.rpartition("/")[2]
    url = f"{ground.target.url}/v1/realtime?call_id={call_id}"
    headers = {"Authorization": f"Bearer {ground.map.key}"}
    events = itertools.cycle(_EVENTS)
    while not call.closed:
        with suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
            async with _band(session, url, headers) as band:
                while not band.closed:
                    for text in itertools.islice(events, BURST):
                        await band.send_str(text)
                        ground.done[name] += 1
                    if reads:
                        await _read(band)
                    await asyncio.sleep(0.1)
        await asyncio.sleep(0.2)


@asynccontextmanager
async def _band(
    session: aiohttp.ClientSession, url: str, headers: dict[str, str]
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A side band; it is left without a word, since a polite end waits for all that was sent."""
    async with session.ws_connect(url, headers=headers) as band:
        try:
            yield band
        finally:
            if (sock := band.get_extra_info("socket")) is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


async def _read(band: aiohttp.ClientWebSocketResponse) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            while not band.closed:
                await band.receive()
