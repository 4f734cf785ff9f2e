"""A Realtime API over WebSocket that says what a test wants."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

FRAME = bytes(20 * 48)  # 20 ms at 24 kHz


class UpstreamStandIn:
    """One server; `session` is the connection that came last."""

    def __init__(self) -> None:
        self.url = ""
        self.refuse_with = 0
        self.keys: list[str] = []
        self.models: list[str] = []
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.connected = asyncio.Event()
        self.left = asyncio.Event()
        self._socket: web.WebSocketResponse | None = None

    async def accept(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers.get("Authorization", ""))
        self.models.append(request.query.get("model", ""))
        if self.refuse_with:
            return web.json_response({"error": {"message": "No."}}, status=self.refuse_with)
        self._socket = socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connected.set()
        await self.say("session.created", session=_session())
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                self.heard.put_nowait(json.loads(message.data))
        self.left.set()
        return socket

    async def say(self, kind: str, **members: Any) -> None:
        """Send one event."""
        await self.say_text(json.dumps({"event_id": "event_1", "type": kind, **members}))

    async def say_text(self, text: str) -> None:
        """Send text that may be no event."""
        assert self._socket
        await self._socket.send_str(text)

    async def speak(self, frames: int, response: str = "resp_1", item: str = "item_1") -> None:
        """Send so much sound of an item, faster than it plays."""
        delta = base64.b64encode(FRAME * frames).decode()
        names = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        await self.say("response.output_audio.delta", **names, delta=delta)

    async def stop_speaking(self, response: str = "resp_1", item: str = "item_1") -> None:
        """All of it has come."""
        names = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        await self.say("response.output_audio.done", **names)

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next event of a kind that was sent up."""
        async with asyncio.timeout(20):
            while (event := await self.heard.get())["type"] != kind:
                pass
            return event

    async def cut(self) -> None:
        """End the connection without a word."""
        assert self._socket is not None
        transport = self._socket._req.transport if self._socket._req else None
        assert transport
        transport.abort()


def _session() -> dict[str, Any]:
    turns = {"type": "server_vad", "interrupt_response": True}
    return {"type": "realtime", "audio": {"input": {"turn_detection": turns}}}


@asynccontextmanager
async def upstream_stand_in() -> AsyncIterator[UpstreamStandIn]:
    """A server on a free loopback port."""
    server = UpstreamStandIn()
    app = web.Application()
    app.add_routes([web.get("/v1/realtime", server.accept)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()
