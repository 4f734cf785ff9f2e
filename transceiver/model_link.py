"""The transceiver's end of the model link: one gRPC stream to one backend, carrying every call.

    session ── CallHandle.send_audio ─▶ Outbox ── one write each ms ────▶ backend
    session ◀─ CallSink.on_audio ────── ModelLink ◀─ one read a batch ──── backend

What the sessions say during one tick of the event loop leaves as one message; while that message is
being written, and until MESSAGE_INTERVAL_S is over, the next one fills (`outbox`, and for each call
`call_handle`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import random
from collections.abc import Callable, Iterable

import grpc
import grpc.aio
import structlog

from transceiver.call_handle import CallHandle, CallSink
from transceiver.link_counters import LinkCounters
from transceiver.link_errors import BackendAbsent, CallLimit, LinkError
from transceiver.outbox import Outbox
from trunkline.v1 import model_pb2

PROTOCOL = 1
CONNECT_TIMEOUT_S = 5.0  # from dialling to the backend's Welcome
BACKOFF_FIRST_S = 0.1
BACKOFF_LONGEST_S = 5.0
# Between two messages. Under load this makes messages fewer and larger, at 0.5 ms of delay in the
# mean; what is said after a pause goes at once. A backend answers batch by batch, so its messages
# become fewer as well.
MESSAGE_INTERVAL_S = 0.001
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
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

Stream = grpc.aio.StreamStreamCall[model_pb2.ToBackend, model_pb2.ToTransceiver]
log = structlog.get_logger()


class LinkDown(Exception):  # noqa: N818
    """Why a connection ended; stays within this module, its text is fit for a log."""


def backoff_s(failures: int, jitter: float) -> float:
    """Seconds to wait after `failures` (≥ 0) attempts in a row failed before; `jitter` is 0–1.

    Doubles from BACKOFF_FIRST_S to BACKOFF_LONGEST_S; half of it is random, so that a thousand
    transceivers do not all knock at a restarted backend at once.
    """
    longest = min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 16))
    return longest * (1 + jitter) / 2


class ModelLink:
    """One transceiver process's stream to the backend at `target` ("host:port").

    Run it once: `task = asyncio.create_task(link.run())`; it connects, and connects again when the
    stream is lost, until `close` or until the task is cancelled.
    """

    def __init__(self, target: str, transceiver_name: str) -> None:
        self.backend = ""  # the backend's name, "" until the first Welcome
        self.accepts: tuple[int, ...] = ()  # AudioFormat values, best first
        self.max_calls = 0  # 0: the backend has no limit of its own
        self.counters = LinkCounters()
        self.down_reason = "not connected yet"  # "" while ready; fit for logs and health details
        # Hears how each call was answered: None, or the error that `accepted` raises.
        self.on_answer: Callable[[LinkError | None], None] = _ignore_answer
        # Hears what a call used of the model, by the call's public id.
        self.on_usage: Callable[[str, model_pb2.Usage], None] = _ignore_usage
        self._target = target
        self._hello = model_pb2.Hello(protocol=PROTOCOL, transceiver=transceiver_name)
        # Numbers go on across streams, so a handle can never be mistaken for a later call's.
        self._numbers = itertools.count(1)
        self._calls: dict[int, CallHandle] = {}
        self._outbox: Outbox | None = None
        self._ready = asyncio.Event()
        self._failures = 0
        self._logged_reason = ""
        self._closed = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether a call can be opened now, as far as the stream goes."""
        return self._outbox is not None

    @property
    def calls(self) -> int:
        """Calls open on the link."""
        return len(self._calls)

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
        """End the stream, for good; calls still open hear on_backend_lost."""
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
    ) -> CallHandle:
        """Put a call on the link; `send_credit` is how many frames the backend may queue here.

        Raises BackendAbsent when there is no backend or it has stopped reading, CallLimit when it
        holds all the calls it wants. Await `accepted()` of the handle next.
        """
        outbox = self._outbox
        if outbox is None:
            raise BackendAbsent(f"no backend: {self.down_reason}")
        if outbox.full:
            raise BackendAbsent("no backend: it has stopped reading")
        if self.max_calls and len(self._calls) >= self.max_calls:
            raise CallLimit(f"the backend holds {self.max_calls} calls, its limit")
        handle = CallHandle(self, outbox, next(self._numbers), call_id, sink)
        handle.start(session_json, audio_format, send_credit, started_unix_ms)
        self._calls[handle.number] = handle
        return handle

    def forget(self, number: int) -> None:
        """The call's handle is done with the link."""
        self._calls.pop(number, None)

    async def _stay_connected(self) -> None:
        while True:
            try:
                await self._connect()
            except grpc.aio.AioRpcError as error:
                self._note_down(_status(error))
            except LinkDown as down:
                self._note_down(str(down))
            await asyncio.sleep(backoff_s(self._failures, random.random()))  # noqa: S311 - jitter
            self._failures += 1

    async def _connect(self) -> None:
        async with grpc.aio.insecure_channel(self._target, options=_OPTIONS) as channel:
            stream = channel.stream_stream(
                _METHOD,
                request_serializer=model_pb2.ToBackend.SerializeToString,
                response_deserializer=model_pb2.ToTransceiver.FromString,
            )(None)
            try:
                welcome = await self._greet(stream)
                await self._carry(stream, welcome)
            finally:
                stream.cancel()

    async def _greet(self, stream: Stream) -> model_pb2.Welcome:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await stream.write(model_pb2.ToBackend(hello=self._hello))
                first = await stream.read()
        except TimeoutError:
            raise LinkDown("the backend did not greet back in time") from None
        if not isinstance(first, model_pb2.ToTransceiver) or not first.HasField("welcome"):
            raise LinkDown("the backend did not begin with a Welcome")
        if first.welcome.protocol != PROTOCOL:
            theirs = first.welcome.protocol
            raise LinkDown(f"the backend speaks protocol {theirs}, this process {PROTOCOL}")
        return first.welcome

    async def _carry(self, stream: Stream, welcome: model_pb2.Welcome) -> None:
        outbox = Outbox()
        self._note_up(welcome, outbox)
        writer = asyncio.create_task(_write(stream, outbox), name="model-link-writer")
        try:
            while isinstance(batch := await stream.read(), model_pb2.ToTransceiver):
                self._deliver(batch.events)
            raise LinkDown("the backend ended the stream")
        finally:
            writer.cancel()
            self._lose_all()
            await asyncio.wait([writer])

    def _deliver(self, events: Iterable[model_pb2.BackendEvent]) -> None:
        calls = self._calls
        for event in events:
            handle = calls.get(event.call)
            if handle is None:
                self.counters.link_late_events += 1
            else:
                handle.deliver(event)

    def _note_up(self, welcome: model_pb2.Welcome, outbox: Outbox) -> None:
        self.backend = welcome.backend[:MAX_NAME_CHARS]
        self.accepts = tuple(welcome.accepts)
        self.max_calls = welcome.max_calls
        self.down_reason = ""
        self.counters.link_connects += 1
        self._failures = 0
        self._logged_reason = ""
        self._outbox = outbox
        self._ready.set()
        log.info("backend_connected", backend=self.backend)

    def _lose_all(self) -> None:
        self._outbox = None
        self._ready.clear()
        self.down_reason = "connection lost"
        self.counters.link_losses += 1
        lost, self._calls = self._calls, {}
        for handle in lost.values():
            handle.lose()

    def _note_down(self, reason: str) -> None:
        # Once an outage and reason, not once an attempt: a backend may be away for hours.
        if reason != self._logged_reason:
            self._logged_reason = reason
            log.warning("backend_absent", reason=reason)
        self.down_reason = reason


def _ignore_answer(_error: LinkError | None) -> None:
    pass


def _ignore_usage(_call_id: str, _usage: model_pb2.Usage) -> None:
    pass


def _status(error: grpc.aio.AioRpcError) -> str:
    # The details of other codes quote network addresses.
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"the backend does not speak this protocol: {error.details()}"
    return f"connection failed ({error.code().name})"


async def _write(stream: Stream, outbox: Outbox) -> None:
    # A failed write ends the stream, and the reader says why.
    loop, taken_s = asyncio.get_running_loop(), -math.inf
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        while True:
            await outbox.wait()
            await asyncio.sleep(MESSAGE_INTERVAL_S - (loop.time() - taken_s))
            taken_s = loop.time()
            for batch, size_bytes in outbox.take():
                await stream.write(batch)
                outbox.written(size_bytes)
