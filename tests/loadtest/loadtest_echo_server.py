"""A stand-in target: a stock aiortc peer behind aiohttp that answers calls and echoes them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)

API_KEY = "stand-in-key"


@dataclass
class EchoServer:
    """Answers `/v1/realtime/calls`; `mute` echoes no sound, `deaf` no messages."""

    mute: bool = False
    deaf: bool = False
    url: str = ""
    calls: dict[str, RTCPeerConnection] = field(default_factory=dict)
    hung_up: int = 0

    async def create(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {API_KEY}":
            raise web.HTTPUnauthorized
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        call_id = uuid.uuid4().hex
        self.calls[call_id] = peer
        peer.on("track", lambda track: self._on_track(peer, track))
        peer.on("datachannel", self._on_channel)
        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        return web.Response(
            status=201,
            text=peer.localDescription.sdp,
            content_type="application/sdp",
            headers={"Location": f"/v1/realtime/calls/{call_id}"},
        )

    async def hang_up(self, request: web.Request) -> web.Response:
        peer = self.calls.pop(request.match_info["call_id"], None)
        if peer is None:
            raise web.HTTPNotFound
        await peer.close()
        self.hung_up += 1
        return web.Response(status=200)

    def _on_track(self, peer: RTCPeerConnection, track: MediaStreamTrack) -> None:
        if not self.mute:
            peer.addTrack(track)

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if not self.deaf:
            channel.on("message", channel.send)


@asynccontextmanager
async def echo_server(*, mute: bool = False, deaf: bool = False) -> AsyncIterator[EchoServer]:
    """Serve on a free port; every peer is closed at the end."""
    server = EchoServer(mute, deaf)
    app = web.Application()
    app.router.add_post("/v1/realtime/calls", server.create)
    app.router.add_post("/v1/realtime/calls/{call_id}/hangup", server.hang_up)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}"
        yield server
    finally:
        for peer in server.calls.values():
            await peer.close()
        await runner.cleanup()
