"""The gRPC server of a backend: a stream for every transceiver, and its health."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import grpc
import grpc.aio

from trunkline.backend.backend import Backend, Handler
from trunkline.backend.call import Call
from trunkline.backend.roster import Roster
from trunkline.backend.settings import Settings
from trunkline.backend.stream import Context, Stream
from trunkline.process.address import Address
from trunkline.process.errors import AddressInUse
from trunkline.process.health import LIVE, Health, Status
from trunkline.process.listen import check_free
from trunkline.v1 import model_pb2, model_pb2_grpc

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
log = logging.getLogger(__name__)


def nothing_more(_server: grpc.aio.Server) -> None:
    """The services that a backend adds to its port if nobody says otherwise."""


class BackendServer:
    """A backend that can be started and stopped; `serve` is this one as a process.

    `add_services` may put others beside it on the port. A call whose stream broke waits `hold_ms`
    for a transceiver that resumes it; 0: it ends with its stream.
    """

    def __init__(
        self,
        backend: Backend | Handler,
        listen: Address,
        add_services: Callable[[grpc.aio.Server], None] = nothing_more,
        hold_ms: int = Settings.hold_ms,
    ) -> None:
        self.port = 0  # known after `start`
        self.draining = False
        self._backend = Backend.of(backend)
        self._listen = listen
        self._add_services = add_services
        self._health = Health()
        self._streams: dict[asyncio.Task[None], Stream] = {}
        self._drain_timer: asyncio.TimerHandle | None = None
        self._fewer = asyncio.Event()  # a call or a stream has ended
        self._roster = Roster(self._backend.handler, hold_ms, self._fewer.set)

    @property
    def calls(self) -> list[Call]:
        """Live calls of every transceiver, and those that wait for one."""
        return self._roster.calls

    async def start(self) -> None:
        """Listen. Raises AddressInUse or AddressUnusable."""
        await check_free(self._listen)
        self._server = grpc.aio.server(options=_OPTIONS)
        model_pb2_grpc.add_ModelBackendServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self._health.add_to(self._server)
        self._add_services(self._server)
        self.port = _bind(self._server, self._listen)
        await self._server.start()
        self._health.set(Status.SERVING, LIVE)
        self._show_readiness()
        log.info("backend_ready", extra={"backend": self._backend.name, "port": self.port})

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
        self._show_readiness()
        self._end_if_deserted()
        return len(self.calls)

    async def undrain(self) -> None:
        """Take calls again; transceivers that turned away come back when they next connect."""
        self.draining = False
        self._cancel_timer()
        self._show_readiness()

    def dismiss_all(self, reason: str) -> int:
        """Hang up every call with `reason`, one of CallEnded's; says how many there were."""
        calls = self.calls
        for call in calls:
            call.hang_up(reason)
        return len(calls)

    async def idle(self) -> None:
        """Return when no call is live and every handler has cleaned up."""
        await self._until(lambda: not self._roster.busy)

    async def deserted(self) -> None:
        """Return when no transceiver is connected."""
        await self._until(lambda: not self._streams)

    async def stop(self) -> None:
        """End every call and stop listening; handlers have been cancelled when this returns."""
        self._cancel_timer()
        self._health.set(Status.NOT_SERVING, "", SERVICE, LIVE)
        streams = set(self._streams)
        held = self._roster.calls
        self._roster.hold_none()
        await self._server.stop(None)
        if streams:
            await asyncio.wait(streams)
        await self._roster.cleaned_up(held)

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
        stream = Stream(self._backend, context, self._roster)
        self._streams[task] = stream
        try:
            await stream.run()
        finally:
            del self._streams[task]
            self._end_if_deserted()
            self._fewer.set()

    def _end_if_deserted(self) -> None:
        """No stream will come, so nobody can resume what is held."""
        if self.draining and not self._streams:
            self._roster.end_held()

    def _show_readiness(self) -> None:
        status = Status.NOT_SERVING if self.draining else Status.SERVING
        self._health.set(status, "", SERVICE)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._fewer.clear()
            await self._fewer.wait()

    def _cancel_timer(self) -> None:
        if self._drain_timer is not None:
            self._drain_timer.cancel()
            self._drain_timer = None


def _bind(server: grpc.aio.Server, address: Address) -> int:
    try:
        return server.add_insecure_port(str(address))
    except RuntimeError:
        # It was free a moment ago, so somebody was quicker.
        raise AddressInUse(f"{address} is in use by another process") from None
