"""Serve a model backend: one asynchronous handler for each call; batches stay hidden.

    from trunkline.backend import Audio, Call, serve

    async def echo(call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Audio):
                await call.send_audio(event.payload, event.duration)

    if __name__ == "__main__":
        serve(echo)

All handlers share one event loop, so a handler must not block it: work that computes belongs into
`asyncio.to_thread` or another process. An exception ends its own call (`failed`) and is logged
once; the end of a call cancels its handler.

The port also answers grpc.health.v1: SERVING for "" and for the service until it drains, and for
`live` as long as the event loop runs.
"""

from trunkline.backend.backend import Backend, Handler
from trunkline.backend.call import Call, CallOver
from trunkline.backend.encoder import OpusEncoder
from trunkline.backend.events import Audio, AudioFormat, Binary, Event, Network, Playout, Text
from trunkline.backend.host import Host
from trunkline.backend.restored import Restored
from trunkline.backend.server import BackendServer
from trunkline.backend.serving import serve
from trunkline.backend.settings import Settings
from trunkline.process.address import Address
from trunkline.process.errors import StartupError

__all__ = [
    "Address",
    "Audio",
    "AudioFormat",
    "Backend",
    "BackendServer",
    "Binary",
    "Call",
    "CallOver",
    "Event",
    "Handler",
    "Host",
    "Network",
    "OpusEncoder",
    "Playout",
    "Restored",
    "Settings",
    "StartupError",
    "Text",
    "serve",
]
