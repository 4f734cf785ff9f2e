"""The agent's events of a call, read by a side band: transcripts, turns, truncations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from loadtest.signaling import Answer
from loadtest.target import Target

MAX_EVENTS = 100_000
Event = dict[str, Any]


class Events:
    """The events so far, in order."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def named(self, name: str, since: int = 0) -> list[Event]:
        """Events of one type, from number `since` on."""
        return [event for event in self.all[since:] if event["type"] == name]

    async def listen(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        """Take in events until the call ends."""
        async for message in websocket:
            if message.type is aiohttp.WSMsgType.TEXT and len(self.all) < MAX_EVENTS:
                self.all.append(json.loads(message.data))


@asynccontextmanager
async def events_of(
    http: aiohttp.ClientSession, target: Target, answer: Answer
) -> AsyncIterator[Events]:
    """The events of a call, for the length of the block. Raises aiohttp.ClientError."""
    call_id = answer.call_url.rsplit("/", 1)[-1]
    url = f"{target.url}/v1/realtime?call_id={call_id}"
    headers = {"Authorization": f"Bearer {target.api_key}"}
    events = Events()
    async with http.ws_connect(url, headers=headers) as websocket:
        listening = asyncio.create_task(events.listen(websocket))
        try:
            yield events
        finally:
            listening.cancel()
            await asyncio.wait({listening})
