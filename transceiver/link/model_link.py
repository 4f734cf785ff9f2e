"""The transceiver's end of the model link: one gRPC stream to one backend, carrying every call.

    session ── CallHandle.send_audio ─▶ Outbox ── one write each ms ────▶ backend
    session ◀─ CallSink.on_audio ────── LinkStream ◀─ one read a batch ── backend

All that the sessions send during one turn of the event loop leaves as one message. While that
message is being written, and until MESSAGE_INTERVAL_S is over, the next one fills (`outbox`, and
`call_handle` for each call).

A backend that is about to go says so (`leaving` in model.proto). Then the link dials once more, and
turns to whoever greets it: behind a Service another Pod. The calls that are there stay on their
stream until they end, so a backend is upgraded without ending one.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence

import grpc
import grpc.aio
import structlog

from fleet.backoff import Backoff, Pace
from transceiver.link.call_handle import CallHandle, CallSink
from transceiver.link.counters import LinkCounters
from transceiver.link.errors import BackendAbsent, CallUnknown, LinkError
from transceiver.link.position import Position
from transceiver.link.stream import LinkDown, LinkStream, Rpc, greet
from trunkline.v1 import model_pb2, record_pb2

STEADY_S = 10.0
"""A stream that lasted this long was well. One that greets and breaks was not, however often."""
RECONNECT_PACE = Pace(first_s=0.1, longest_s=1.0)
"""Live calls wait for a backend that restarts, so it is found again within a second."""
MAX_MESSAGE_BYTES = 1024 * 1024  # reading more takes tens of milliseconds of a loop with live calls
MAX_NAME_CHARS = 64  # of the backend's own name, which goes to logs and ListCalls

_METHOD = "/trunkline.v1.ModelBackend/Connect"
_OPTIONS = (
    # gRPC's own reconnecting keeps its own clock; here every attempt is a fresh channel.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    # A backend that vanished without a FIN is noticed within 15 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)

log = structlog.get_logger(__name__)


class ModelLink:
    """One transceiver process's link to the backend at `target` ("host:port").

    Run it once: `task = asyncio.create_task(link.run())`; it connects, and connects again when the
    stream is lost or its backend is leaving, until `close` or until the task is cancelled. Streams
    of backends that are leaving stay beside the newest one, each for as long as it has calls.
    """

    def __init__(self, target: str, transceiver_name: str) -> None:
        self.called = ""  # by operators (`transceiver.link.backends`)
        self.backend = ""  # the backend's name, "" until the first Welcome
        self.accepts: tuple[int, ...] = ()  # AudioFormat values, best first
        self.max_calls = 0  # 0: the backend has no limit of its own
        self.counters = LinkCounters()
        self.down_reason = "not connected yet"  # "" while ready; fit for logs and health details
        # Hears how each call was answered: None, or the error that `accepted` raises.
        self.on_answer: Callable[[LinkError | None], None] = _ignore_answer
        # Hears what a call used of the model, by the call's public id.
        self.on_usage: Callable[[str, model_pb2.Usage], None] = _ignore_usage
        # Hears that new calls can be opened, each time that a backend has greeted back.
        self.on_ready: Callable[[], None] = _ignore_ready
        self.on_recorded: Callable[[str, record_pb2.Recorded], None] = _ignore_recorded
        self._target = target
        self._name = transceiver_name
        # Numbers go on across streams, so a handle can never be mistaken for a later call's.
        self._numbers = itertools.count(1)
        self._stream: LinkStream | None = None  # the one that new calls get
        self._streams: set[LinkStream] = set()  # that one, and those of backends that are leaving
        self._ready = asyncio.Event()
        self._backoff = Backoff(RECONNECT_PACE, STEADY_S)
        self._greeted_s = float("inf")  # when the newest stream was greeted back
        self._logged_reason = ""
        self._closed = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether a call can be opened now, as far as the stream goes."""
        return self._stream is not None

    @property
    def calls(self) -> int:
        """Calls open on the stream that new calls get."""
        return 0 if self._stream is None else self._stream.calls

    async def until_ready(self) -> None:
        """Return once the backend has greeted back."""
        await self._ready.wait()

    async def run(self) -> None:
        """Stay connected until closed or cancelled. Raises nothing but CancelledError."""
        if self._closed.is_set():
            return
        self._connecting = asyncio.create_task(self._stay_connected(), name="model-link")
        try:
            await self._connecting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._closed.is_set() or (task is not None and task.cancelling()):
                raise

    async def close(self) -> None:
        """End all streams, for good; calls still open hear on_backend_lost."""
        self._closed.set()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])

    def open_call(
        self,
        call_id: str,
        session_json: str,
        sink: CallSink,
        send_credit: int,
        started_unix_ms: int,
        audio_format: int = model_pb2.AUDIO_FORMAT_OPUS,
        page_may_set: Sequence[str] | None = None,
        resume: Position | None = None,
        *,
        exact: bool = False,
        restored: model_pb2.Restored | None = None,
    ) -> CallHandle:
        """Put a call on the link; `send_credit` is how many frames the backend may queue here,
        `page_may_set` what a page may set of the session (None: the caller is no page). `resume`
        is where another process left it, and `exact` says that it had stopped by itself.
        `restored` is what is left of the conversation that a lost backend had.

        Raises CallUnknown when this backend cannot resume it, BackendAbsent when there is none
        or it has stopped reading, CallLimit when it holds all the calls it wants. Await
        `accepted()` of the handle next.
        """
        handle = self._stream_for(resume).add_call(next(self._numbers), call_id, sink, resume)
        handle.start(
            *(session_json, audio_format, send_credit, started_unix_ms, page_may_set),
            resume.resume(exact=exact) if resume is not None else None,
            restored,
        )
        return handle

    def reaches(self, instance: str) -> bool:
        """Whether a stream leads to that process of the backend."""
        return any(stream.instance == instance for stream in self._streams)

    def _stream_for(self, resume: Position | None) -> LinkStream:
        if self._stream is None:
            raise BackendAbsent(f"no backend: {self.down_reason}")
        if resume is None or resume.instance in ("", self._stream.instance):
            return self._stream
        for stream in self._streams:
            if stream.instance == resume.instance:
                return stream
        raise CallUnknown("another process of the backend has it")

    async def _stay_connected(self) -> None:
        async with asyncio.TaskGroup() as streams:
            while True:
                moving = asyncio.Event()  # the stream has ended, or its backend is leaving
                streams.create_task(self._connect(moving), name="model-link-stream")
                await moving.wait()
                lasted_s = time.monotonic() - self._greeted_s
                self._greeted_s = float("inf")
                await asyncio.sleep(self._backoff.after(lasted_s))

    async def _connect(self, moving: asyncio.Event) -> None:
        """One stream, from dialling to its end."""
        try:
            async with grpc.aio.insecure_channel(self._target, options=_OPTIONS) as channel:
                rpc = channel.stream_stream(
                    _METHOD,
                    request_serializer=model_pb2.ToBackend.SerializeToString,
                    response_deserializer=model_pb2.ToTransceiver.FromString,
                )(None)
                try:
                    await self._greet_and_carry(rpc, moving)
                finally:
                    rpc.cancel()
        except Exception:  # of ours: the end of this stream, and no other
            log.exception("link_stream_failed")
        finally:
            moving.set()

    async def _greet_and_carry(self, rpc: Rpc, moving: asyncio.Event) -> None:
        try:
            welcome = await greet(rpc, self._name)
        except (grpc.aio.AioRpcError, LinkDown) as error:
            self._turn_away()
            self._note_absence(_reason(error))
            return
        stream = LinkStream(self, rpc, welcome, on_leaving=moving.set)
        self._streams.add(stream)
        self._turn_to(stream, welcome)
        ending = ""
        try:
            await stream.carry()
        except (grpc.aio.AioRpcError, LinkDown) as error:
            ending = _reason(error)
        finally:
            was_current = self._stream is stream
            if was_current:
                self._turn_away()
            self._streams.discard(stream)
            stream.lose()
        if was_current:
            self._note_absence(ending)

    def _turn_to(self, stream: LinkStream, welcome: model_pb2.Welcome) -> None:
        """New calls get this stream."""
        if self._stream is not None:
            self._stream.retire()
        self._stream = stream
        self.backend = welcome.backend[:MAX_NAME_CHARS]
        self.accepts = tuple(welcome.accepts)
        self.max_calls = welcome.max_calls
        self.down_reason = ""
        self.counters.link_connects += 1
        self._greeted_s = time.monotonic()
        self._logged_reason = ""
        self._ready.set()
        self.on_ready()
        log.info("backend_connected", backend=self.backend)

    def _turn_away(self) -> None:
        """There is no stream for new calls."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.retire()
        self._ready.clear()
        self.down_reason = "connection lost"

    def _note_absence(self, reason: str) -> None:
        self.down_reason = reason
        # Once an outage and reason, not once an attempt: a backend may be away for hours.
        if reason != self._logged_reason:
            self._logged_reason = reason
            log.warning("backend_absent", reason=reason)


def _ignore_ready() -> None:
    pass


def _ignore_answer(_error: LinkError | None) -> None:
    pass


def _ignore_recorded(_call_id: str, _recorded: record_pb2.Recorded) -> None:
    pass


def _ignore_usage(_call_id: str, _usage: model_pb2.Usage) -> None:
    pass


def _reason(error: grpc.aio.AioRpcError | LinkDown) -> str:
    if isinstance(error, LinkDown):
        return str(error)
    # The details of other codes quote network addresses.
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"the backend does not speak this protocol: {error.details()}"
    return f"connection failed ({error.code().name})"
