"""Serve a model backend: one async handler a call, many calls a stream, no batching in sight.

    async def handler(call: Call) -> None:
        async for event in call.events():
            ...

    serve(handler, load(BackendSettings, "python -m my_backend"), name="mine")

All handlers share one event loop, so a handler must not block it: work that computes belongs into
`asyncio.to_thread` or another process. An exception ends its own call (`failed`) and is logged
once; the end of a call cancels its handler.

The port also answers grpc.health.v1 (SERVING for "", for the service and for `fleet.admin.LIVE`)
and server reflection. A process serves operators on another one (`backends.admin`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import NoReturn

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from backends.admin import serving as admin_port
from backends.call import Call, CallOver
from backends.encoder import NO_WISHES, OpusEncoder
from backends.events import Audio, AudioFormat, Binary, Event, Network, Playout, Text
from backends.settings import BackendSettings
from backends.stream import Context, Handler, Offer, Stream
from fleet import logs, process
from fleet.address import Address
from fleet.admin import LIVE, AdminSecurity
from fleet.errors import AddressInUse
from fleet.listen import check_free
from trunkline.v1 import model_pb2, model_pb2_grpc

__all__ = [
    "Audio",
    "AudioFormat",
    "BackendServer",
    "Binary",
    "Call",
    "CallOver",
    "Event",
    "Handler",
    "Network",
    "OpusEncoder",
    "Playout",
    "Text",
    "serve",
]

SERVICE = model_pb2.DESCRIPTOR.services_by_name["ModelBackend"].full_name
_OPTIONS = (
    # With it, a second backend would share the port in silence and take half of the streams.
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 16),  # of one connection; a transceiver needs one
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    # Transceivers ping every 10 s, and a transceiver that vanished is noticed within 15 s.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)
log = structlog.get_logger()


class BackendServer:
    """A backend that can be started and stopped; `serve` is this one as a process.

    `max_calls` bounds the calls of each transceiver; 0 means no bound but the transceivers' own.
    `encoder` is asked of the transceiver for calls in PCM.
    """

    def __init__(
        self,
        handler: Handler,
        listen: Address,
        *,
        accepts: Sequence[AudioFormat] = (AudioFormat.OPUS,),
        name: str = "backend",
        max_calls: int = 0,
        encoder: OpusEncoder = NO_WISHES,
    ) -> None:
        self.port = 0  # known after `start`
        self._handler = handler
        self._listen = listen
        self._offer = Offer(name, tuple(accepts), max_calls, encoder)
        self._streams: dict[asyncio.Task[None], Stream] = {}

    @property
    def calls(self) -> list[Call]:
        """Live calls of every transceiver."""
        return [call for stream in self._streams.values() for call in stream.calls]

    async def start(self) -> None:
        """Listen. Raises AddressInUse or AddressUnusable."""
        await check_free(self._listen)
        self._server = grpc.aio.server(options=_OPTIONS)
        model_pb2_grpc.add_ModelBackendServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.port = _bind(self._server, self._listen)
        await self._server.start()
        for service in ("", SERVICE, LIVE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        log.info("backend_ready", name=self._offer.name, port=self.port)

    async def stop(self) -> None:
        """End every call and stop listening; handlers have been cancelled when this returns."""
        await self._health.enter_graceful_shutdown()
        streams = set(self._streams)
        await self._server.stop(None)
        if streams:
            await asyncio.wait(streams)

    async def __aenter__(self) -> BackendServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def Connect(  # noqa: N802 - named by the service
        self, _requests: AsyncIterator[model_pb2.ToBackend], context: Context
    ) -> None:
        """ModelBackend.Connect of model.proto."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        stream = self._streams[task] = Stream(self._handler, self._offer, context)
        try:
            await stream.run()
        finally:
            del self._streams[task]


def serve(
    handler: Handler,
    settings: BackendSettings,
    accepts: Sequence[AudioFormat] = (AudioFormat.OPUS,),
    name: str = "backend",
    max_calls: int = 0,
    around: AbstractAsyncContextManager[object] | None = None,
    encoder: OpusEncoder = NO_WISHES,
) -> NoReturn:
    """Serve `handler` until SIGTERM or SIGINT: the whole main program of a backend.

    `around` is entered before the first call and left after the last. Raises SystemExit: 0 at the
    end, 1 after one line on stderr when an address cannot be had, a certificate cannot serve, or
    `around` raises StartupError.
    """
    logs.configure(settings.log_level, settings.log_format, process="backend")

    async def main(stop: asyncio.Event) -> None:
        listen = settings.backend_listen
        # Found out before models are loaded, which takes its time.
        AdminSecurity.of(settings).check()
        await check_free(settings.backend_admin)
        server = BackendServer(
            handler, listen, accepts=accepts, name=name, max_calls=max_calls, encoder=encoder
        )
        async with around or nullcontext(), server, admin_port(settings, server):
            await stop.wait()

    raise SystemExit(process.run(main))


def _bind(server: grpc.aio.Server, address: Address) -> int:
    try:
        return server.add_insecure_port(str(address))
    except RuntimeError:
        # It was free a moment ago, so somebody was quicker.
        raise AddressInUse(f"{address} is in use by another process") from None
