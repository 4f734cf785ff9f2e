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
from collections.abc import AsyncIterator, Callable, Sequence
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
from backends.leaving import leave
from backends.settings import BackendSettings
from backends.stream import Context, Handler, Offer, Stream
from fleet import logs, process
from fleet.address import Address
from fleet.admin.server import LIVE, AdminSecurity
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
        self.draining = False
        self._drain_timer: asyncio.TimerHandle | None = None
        self._fewer = asyncio.Event()  # a call or a stream has ended

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
        await self._health.set(LIVE, health_pb2.HealthCheckResponse.SERVING)
        await self._show_readiness()
        log.info("backend_ready", name=self._offer.name, port=self.port)

    async def drain(self, deadline_s: float = 0) -> int:
        """Ask transceivers to take their next calls elsewhere; says how many calls are live.

        Live calls go on, and are hung up after `deadline_s` (0: never). New streams are refused.
        """
        self.draining = True
        self._cancel_timer()
        for stream in self._streams.values():
            stream.leave()
        if deadline_s:
            loop = asyncio.get_running_loop()
            self._drain_timer = loop.call_later(deadline_s, self.dismiss_all, "drained")
        await self._show_readiness()
        return len(self.calls)

    async def undrain(self) -> None:
        """Take calls again; transceivers that turned away come back when they next connect."""
        self.draining = False
        self._cancel_timer()
        await self._show_readiness()

    def dismiss_all(self, reason: str) -> int:
        """Hang up every call with `reason`, one of CallEnded's; says how many there were."""
        calls = self.calls
        for call in calls:
            call.hang_up(reason)
        return len(calls)

    async def idle(self) -> None:
        """Return when no call is live and every handler has cleaned up."""
        await self._until(lambda: not any(stream.busy for stream in self._streams.values()))

    async def deserted(self) -> None:
        """Return when no transceiver is connected."""
        await self._until(lambda: not self._streams)

    async def stop(self) -> None:
        """End every call and stop listening; handlers have been cancelled when this returns."""
        self._cancel_timer()
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
        if self.draining:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this backend is leaving")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        stream = Stream(self._handler, self._offer, context, on_call_over=self._fewer.set)
        self._streams[task] = stream
        try:
            await stream.run()
        finally:
            del self._streams[task]
            self._fewer.set()

    async def _show_readiness(self) -> None:
        states = health_pb2.HealthCheckResponse
        state = states.NOT_SERVING if self.draining else states.SERVING
        for service in ("", SERVICE):
            await self._health.set(service, state)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._fewer.clear()
            await self._fewer.wait()

    def _cancel_timer(self) -> None:
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None


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

    Then live calls have `TRUNKLINE_BACKEND_DRAIN_S` to end, or until a second signal.

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
            await leave(server, settings.backend_drain_s, stop)

    raise SystemExit(process.run(main))


def _bind(server: grpc.aio.Server, address: Address) -> int:
    try:
        return server.add_insecure_port(str(address))
    except RuntimeError:
        # It was free a moment ago, so somebody was quicker.
        raise AddressInUse(f"{address} is in use by another process") from None
