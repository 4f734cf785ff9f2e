"""The transceiver's end of the model link: one gRPC stream to one backend, carrying every call.

    session ── CallHandle.send_audio ─▶ Outbox ── one write each ms ────▶ backend
    session ◀─ CallSink.on_audio ────── ModelLink ◀─ one read a batch ──── backend

A gRPC message costs a Python process about 100 µs and an event inside one about 2, so what the
sessions say during one tick of the event loop leaves as one message; while that message is being
written, and until MESSAGE_INTERVAL_S is over, the next one fills. Nothing here makes a task, a
future or an await per frame.

Bounds, all counted in `LinkCounters`:

- audio that waits: MAX_CALL_FRAMES a call, MAX_WAITING_BYTES in all; the newest frame is dropped,
  and the next one that does go out reports it as `lost`;
- data messages that wait: MAX_CALL_DATA_BYTES a call, MAX_WAITING_BYTES in all; data is never lost
  silently, so the call ends `failed` instead;
- playout, network and credit reports merge while they wait.

What is being written is held beside what waits, so a call's share is at most twice its bound.

    Exception
    └── LinkError
        ├── BackendAbsent    no backend is there (or was lost, or does not answer)
        ├── BackendRefused   the backend will not take this call; `reason` is for the operator
        └── CallLimit        the backend holds as many calls as it said it would
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import grpc
import grpc.aio
import structlog

from trunkline.v1 import model_pb2

PROTOCOL = 1
CONNECT_TIMEOUT_S = 5.0  # from dialling to the backend's Welcome
BACKOFF_FIRST_S = 0.1
BACKOFF_LONGEST_S = 5.0
# Between two messages. Under load this makes messages fewer and larger, at 0.5 ms of delay in the
# mean; what is said after a pause goes at once. A backend answers batch by batch, so its messages
# become fewer as well.
MESSAGE_INTERVAL_S = 0.001
BATCH_BYTES = 256 * 1024  # a batch is closed beyond this, far below MAX_MESSAGE_BYTES
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_CALL_FRAMES = 100  # two seconds of 20 ms frames: older speech is of no use to a turn
MAX_CALL_DATA_BYTES = 1024 * 1024
MAX_WAITING_BYTES = 16 * 1024 * 1024  # about three seconds of a thousand calls
MAX_NAME_CHARS = 64  # of the backend's own name, which goes to logs and ListCalls
EVENT_BYTES = 32  # what an event costs on the wire beyond its payload, rounded up

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


class LinkError(Exception):
    """A call cannot have the backend."""


class BackendAbsent(LinkError):  # noqa: N818 - a state of the world, not a mistake
    """There is no backend now: not connected, lost while the call waited, or silent."""


class BackendRefused(LinkError):  # noqa: N818
    """The backend said no. `reason` is for the operator and never shown to the caller."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the backend refused the call: {reason}")
        self.reason = reason


class CallLimit(LinkError):  # noqa: N818
    """The backend already holds the calls it announced as its limit."""


class LinkDown(Exception):  # noqa: N818
    """Why a connection ended; stays within this module, its text is fit for a log."""


class CallSink(Protocol):
    """What a session hears from its backend; called on the loop, batch by batch, in order.

    A sink that raises loses its call (`on_hang_up("failed")`), never the link. After on_hang_up,
    on_backend_lost or the session's own `close` nothing follows.
    """

    def on_encoder(self, encoder: model_pb2.OpusEncoder) -> None:
        """How the backend's PCM is to be written; told before its first frame, if at all."""

    def on_audio(self, payload: bytes, duration: int) -> None:
        """Queue one frame; `duration` in 48 kHz ticks. Give its credit back once it is played."""

    def on_data(self, label: str, content: str | bytes) -> None:
        """A message for the caller's data channel `label`."""

    def on_clear(self) -> None:
        """Forget queued audio now, give its credit back, and answer with `send_playout`."""

    def on_hang_up(self, reason: str) -> None:
        """The call is over: the backend ended it, or it failed here."""

    def on_backend_lost(self) -> None:
        """The stream broke; called exactly once for a call that was open then."""


@dataclass(slots=True)
class LinkCounters:
    """What the link did and had to put up with, since it was made."""

    link_audio_dropped: int = 0  # frames to the backend, at a bound
    link_data_overflows: int = 0  # calls ended because their data could wait no longer
    link_credit_violations: int = 0  # frames a backend sent beyond its credit; delivered anyway
    link_late_events: int = 0  # events of calls that had already ended here
    link_sink_failures: int = 0  # exceptions out of a sink
    link_connects: int = 0
    link_losses: int = 0


def backoff_s(failures: int, jitter: float) -> float:
    """Seconds to wait after `failures` (≥ 0) attempts in a row failed before; `jitter` is 0–1.

    Doubles from BACKOFF_FIRST_S to BACKOFF_LONGEST_S; half of it is random, so that a thousand
    transceivers do not all knock at a restarted backend at once.
    """
    longest = min(BACKOFF_LONGEST_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 16))
    return longest * (1 + jitter) / 2


class Outbox:
    """Events that wait for the stream, already in the messages they will travel in.

    `round` rises with each `take`, so that a call knows that what it counted before is gone.
    `waiting_bytes` includes what was taken and not yet reported as `written`.
    """

    def __init__(self) -> None:
        self.round = 0
        self.waiting_bytes = 0
        self._reporters: dict[CallHandle, None] = {}
        self._waker: asyncio.Future[None] | None = None
        self._closed: list[tuple[model_pb2.ToBackend, int]] = []
        self._start_batch()

    def __bool__(self) -> bool:
        return bool(self._batch_bytes or self._reporters)

    @property
    def full(self) -> bool:
        """Whether audio must be dropped now, and no call opened."""
        return self.waiting_bytes >= MAX_WAITING_BYTES

    def add(self, call: int, size_bytes: int) -> model_pb2.CallEvent:
        """A new event of `call`, last in the batch, for the caller to fill in."""
        if self._batch_bytes + size_bytes > BATCH_BYTES:
            self._close_batch()
        self._batch_bytes += size_bytes
        self.waiting_bytes += size_bytes
        if self._waker is not None:
            self._wake()
        event = self._append()
        event.call = call
        return event

    def ask_for_reports(self, handle: CallHandle) -> None:
        """Call `handle.write_reports` once, when the round is taken."""
        self._reporters[handle] = None
        if self._waker is not None:
            self._wake()

    def take(self) -> list[tuple[model_pb2.ToBackend, int]]:
        """The round's messages with their sizes in bytes; the next round begins empty."""
        reporters, self._reporters = self._reporters, {}
        for handle in reporters:
            handle.write_reports()
        self._close_batch()
        batches, self._closed = self._closed, []
        self.round += 1
        return batches

    def written(self, size_bytes: int) -> None:
        """A message of this size has left the process."""
        self.waiting_bytes -= size_bytes

    async def wait(self) -> None:
        """Return in the tick after something was added; one wake-up for all of a tick."""
        while not self:
            self._waker = asyncio.get_running_loop().create_future()
            await self._waker

    def _wake(self) -> None:
        waker, self._waker = self._waker, None
        if waker is not None and not waker.done():
            waker.set_result(None)

    def _start_batch(self) -> None:
        self._batch = model_pb2.ToBackend()
        self._batch_bytes = 0
        self._append = self._batch.events.add

    def _close_batch(self) -> None:
        if self._batch_bytes:
            self._closed.append((self._batch, self._batch_bytes))
            self._start_batch()


class CallHandle:
    """One call on the link, held by its session.

    Every method is a plain call that appends to the batch of this tick. After the end of the call
    (closed, hung up, backend lost) they do nothing.
    """

    __slots__ = (
        "__weakref__",
        "_answer",
        "_audio_frames",
        "_clears",
        "_counted_round",
        "_credit",
        "_data_bytes",
        "_link",
        "_network",
        "_new_credit",
        "_outbox",
        "_playout",
        "_sink",
        "_unsent",
        "call_id",
        "number",
    )

    def __init__(
        self, link: ModelLink, outbox: Outbox, number: int, call_id: str, sink: CallSink
    ) -> None:
        self.call_id = call_id
        self._link = link
        self._outbox: Outbox | None = outbox  # None: the call is over
        self.number = number
        self._sink: CallSink | None = sink  # None: the sink must hear nothing more
        self._answer: asyncio.Future[LinkError | None] = asyncio.get_running_loop().create_future()
        self._credit = 0
        self._clears = 0
        self._unsent = 0  # packets that the next frame reports as lost before it
        self._counted_round = -1
        self._audio_frames = 0
        self._data_bytes = 0
        self._new_credit = 0
        self._playout: tuple[int, int, int, int] | None = None
        self._network: tuple[float | None, int, float] | None = None

    @property
    def open(self) -> bool:
        """Whether the call still is on the link."""
        return self._outbox is not None

    async def accepted(self, timeout_s: float | None = None) -> None:
        """Wait until the backend takes the call.

        Raises BackendRefused, or BackendAbsent when the backend is lost, the call is closed, or no
        answer came within `timeout_s`. The call is not closed by a timeout: that is the caller's.
        """
        try:
            async with asyncio.timeout(timeout_s):
                error = await asyncio.shield(self._answer)
        except TimeoutError:
            absent = BackendAbsent("the backend did not answer in time")
            self._link.on_answer(absent)
            raise absent from None
        if error is not None:
            raise error

    def send_audio(self, payload: bytes, rtp_time: int, duration: int, lost: int = 0) -> None:
        """One frame of the caller's speech; times in 48 kHz ticks, `lost` in packets before it."""
        outbox = self._outbox
        if outbox is None:
            return
        if self._counted_round != outbox.round:
            self._start_counting(outbox.round)
        if self._audio_frames >= MAX_CALL_FRAMES or outbox.waiting_bytes >= MAX_WAITING_BYTES:
            self._unsent += lost + 1
            self._link.counters.link_audio_dropped += 1
            return
        self._audio_frames += 1
        if self._unsent:
            lost += self._unsent
            self._unsent = 0
        audio = outbox.add(self.number, len(payload) + EVENT_BYTES).audio
        audio.payload = payload
        audio.rtp_time = rtp_time
        audio.duration = duration
        if lost:
            audio.lost = lost

    def send_text(self, label: str, text: str) -> None:
        """A text message from the caller's data channel `label`."""
        data = self._add_data(label, len(text.encode()))
        if data is not None:
            data.text = text

    def send_binary(self, label: str, content: bytes) -> None:
        """A binary message from the caller's data channel `label`."""
        data = self._add_data(label, len(content))
        if data is not None:
            data.binary = content

    def send_playout(self, sent: int, acked: int, cleared: int, queued: int) -> None:
        """How far the caller's ear is, in frames; only the newest report of a tick travels."""
        if self._outbox is not None:
            self._playout = (sent, acked, cleared, queued)
            self._outbox.ask_for_reports(self)

    def send_network(self, round_trip_s: float | None, packets: int, waited_s: float) -> None:
        """As model.proto's Network, in seconds; only the newest report of a tick travels."""
        if self._outbox is not None:
            self._network = (round_trip_s, packets, waited_s)
            self._outbox.ask_for_reports(self)

    def give_credit(self, frames: int) -> None:
        """Let the backend send `frames` more; credit given in one tick travels as one event."""
        if self._outbox is not None and frames > 0:
            self._credit += frames
            self._new_credit += frames
            self._outbox.ask_for_reports(self)

    def close(self, reason: str) -> None:
        """End the call; `reason` as in CallEnded. The sink hears nothing after this."""
        self._sink = None
        self._end(reason)

    # What follows is for the link and the outbox.

    def write_reports(self) -> None:
        """Append what merged while it waited."""
        outbox = self._outbox
        if outbox is None:
            return
        if self._new_credit:
            outbox.add(self.number, EVENT_BYTES).credit.frames = self._new_credit
            self._new_credit = 0
        if self._network is not None:  # before the playout, as model.proto says
            network = outbox.add(self.number, EVENT_BYTES).network
            round_trip_s, network.packets, waited_s = self._network
            network.waited_ms = waited_s * 1000
            if round_trip_s is not None:
                network.round_trip_ms = round_trip_s * 1000
            self._network = None
        if self._playout is not None:
            playout = outbox.add(self.number, EVENT_BYTES).playout
            playout.sent_frames, playout.acked_frames = self._playout[:2]
            playout.cleared_frames, playout.queued_frames = self._playout[2:]
            playout.clears = self._clears
            self._playout = None

    def start(self, session_json: str, audio_format: int, credit: int, unix_ms: int) -> None:
        """Announce the call to the backend."""
        if self._outbox is None:
            return
        self._credit = credit
        started = self._outbox.add(self.number, len(session_json.encode()) + EVENT_BYTES).started
        started.call_id = self.call_id
        started.format = model_pb2.AudioFormat.ValueType(audio_format)
        started.session_json = session_json
        started.send_credit = credit
        started.started_unix_ms = unix_ms

    def deliver(self, event: model_pb2.BackendEvent) -> None:
        """Hand one event to the sink; whatever the sink raises ends this call only."""
        sink = self._sink
        if sink is None:
            return
        try:
            if event.HasField("audio"):
                self._credit -= 1
                if self._credit < 0:
                    self._note_violation()
                audio = event.audio
                sink.on_audio(audio.payload, audio.duration)
            else:
                self._deliver_rare(sink, event)
        except Exception:
            self._sink_failed()

    def lose(self) -> None:
        """The stream is gone."""
        self._settle(BackendAbsent("the backend was lost"), self._link.on_answer)
        self._outbox = None
        sink, self._sink = self._sink, None
        if sink is not None:
            self._guarded(sink.on_backend_lost)

    def _deliver_rare(self, sink: CallSink, event: model_pb2.BackendEvent) -> None:
        match event.WhichOneof("event"):
            case "data":
                data = event.data
                text = data.HasField("text")
                sink.on_data(data.label, data.text if text else data.binary)
            case "clear":
                self._clears += 1
                sink.on_clear()
            case "accepted":
                if event.accepted.HasField("encoder"):
                    sink.on_encoder(event.accepted.encoder)
                self._settle(None, self._link.on_answer)
            case "refused":
                self._settle(BackendRefused(event.refused.reason), self._link.on_answer)
                self._sink = None
                self._leave()
            case "hang_up":
                self._leave()
                self._tell_hang_up(event.hang_up.reason)
            case "usage":
                self._link.on_usage(self.call_id, event.usage)
            case _:
                pass  # an event of a later minor version of the protocol

    def _start_counting(self, round_number: int) -> None:
        self._counted_round = round_number
        self._audio_frames = 0
        self._data_bytes = 0

    def _add_data(self, label: str, size_bytes: int) -> model_pb2.Data | None:
        outbox = self._outbox
        if outbox is None:
            return None
        if self._counted_round != outbox.round:
            self._start_counting(outbox.round)
        size_bytes += len(label.encode()) + EVENT_BYTES
        self._data_bytes += size_bytes
        if self._data_bytes > MAX_CALL_DATA_BYTES or outbox.full:
            self._overflow()
            return None
        data = outbox.add(self.number, size_bytes).data
        data.label = label
        return data

    def _overflow(self) -> None:
        self._link.counters.link_data_overflows += 1
        self._end("failed")
        # Not from within the session's own call into us.
        asyncio.get_running_loop().call_soon(self._tell_hang_up, "failed")

    def _note_violation(self) -> None:
        self._credit = 0  # each frame beyond the credit counts once, and is no debt
        self._link.counters.link_credit_violations += 1

    def _sink_failed(self) -> None:
        self._link.counters.link_sink_failures += 1
        log.exception("sink_failed", call_id=self.call_id)
        self._end("failed")
        self._tell_hang_up("failed")

    def _tell_hang_up(self, reason: str) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            self._guarded(sink.on_hang_up, reason)

    def _guarded(self, tell: Callable[..., None], *args: str) -> None:
        try:
            tell(*args)
        except Exception:
            self._link.counters.link_sink_failures += 1
            log.exception("sink_failed", call_id=self.call_id)

    def _end(self, reason: str) -> None:
        outbox = self._outbox
        if outbox is not None:
            self.write_reports()
            outbox.add(self.number, EVENT_BYTES).ended.reason = reason
            self._leave()

    def _leave(self) -> None:
        self._outbox = None
        self._settle(BackendAbsent("the call has ended"))
        self._link.forget(self.number)

    def _settle(
        self, error: LinkError | None, tell: Callable[[LinkError | None], None] | None = None
    ) -> None:
        if not self._answer.done():
            self._answer.set_result(error)
            if tell is not None:
                tell(error)


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

    def choose(self, _session_json: str) -> ModelLink:
        """This one, whatever the session asks: an engine may have a single backend."""
        return self

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
