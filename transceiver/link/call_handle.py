"""One call on the model link: what its session sends to the backend, and hears from it.

Nothing here makes a task, a future or an await per frame. Bounds, counted in `LinkCounters`:

- audio that waits: MAX_CALL_FRAMES a call, `outbox.MAX_WAITING_BYTES` in all; the newest frame is
  dropped, and the next one that does go out reports it as `lost`;
- data messages that wait: MAX_CALL_DATA_BYTES a call, the same in all; data is never lost
  silently, so the call ends `failed` instead;
- playout, network and credit reports merge while they wait.

What is being written is held beside what waits, so a call's share is at most twice its bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from transceiver.link.carrier import Carrier
from transceiver.link.errors import BackendAbsent, BackendRefused, CallUnknown, LinkError
from transceiver.link.outbox import EVENT_BYTES, Outbox
from transceiver.link.position import NOWHERE, Position
from transceiver.link.reports import Reports
from trunkline.v1 import model_pb2

MAX_CALL_FRAMES = 100  # two seconds of 20 ms frames: older speech is of no use to a turn
MAX_CALL_DATA_BYTES = 1024 * 1024
MAX_SNAPSHOT_BYTES = 256 * 1024  # of a conversation; a larger one is counted and ignored
UNCOUNTED = frozenset({"accepted", "refused", "remember"})  # as model.proto's Resume says


class CallSink(Protocol):
    """What a session hears from its backend; called on the loop, batch by batch, in order.

    A sink that raises loses its call (`on_fault`), never the link. After on_hang_up, on_fault,
    on_backend_lost or the session's own `close` nothing follows.
    """

    def on_accepted(self) -> None:
        """The backend has taken the call; told before all else."""

    def on_remember(self, snapshot: bytes) -> None:
        """What another backend needs to go on with the call; at most MAX_SNAPSHOT_BYTES."""

    def on_resumed(self, ear: model_pb2.Playout) -> None:
        """The backend goes on with the call. Frames up to sent plus cleared of `ear` are past: they
        are not to be played, and credit is to be given back for later ones only."""

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
        """The stream broke, or the backend does not know a call that it was to resume.

        Called exactly once for a call that was open then.
        """

    def on_fault(self, error: Exception) -> None:
        """What the sink raised, or what kept this call's reports from being written: it is over."""


class CallHandle:
    """One call on the link, held by its session.

    Every method is a plain call that appends to the batch of this tick. After the end of the call
    (closed, hung up, backend lost) they do nothing.
    """

    __slots__ = (
        "__weakref__",
        "_answer",
        "_audio_frames",
        "_carrier",
        "_clears",
        "_counted_round",
        "_credit",
        "_data_bytes",
        "_instance",
        "_link",
        "_outbox",
        "_reports",
        "_sent_events",
        "_sink",
        "_taken_events",
        "_token",
        "_unsent",
        "call_id",
        "number",
    )

    def __init__(
        self,
        carrier: Carrier,
        number: int,
        call_id: str,
        sink: CallSink,
        position: Position = NOWHERE,
    ) -> None:
        self.call_id = call_id
        self._carrier = carrier
        self._link = carrier.link
        self._outbox: Outbox | None = carrier.outbox  # None: the call is over
        self.number = number
        self._sink: CallSink | None = sink  # None: the sink must hear nothing more
        self._answer: asyncio.Future[LinkError | None] = asyncio.get_running_loop().create_future()
        self._credit = 0
        self._token, self._instance = position.token, position.instance
        self._taken_events = position.taken_events
        self._sent_events = position.sent_events
        self._clears = position.clears
        self._reports = Reports()
        self._unsent = 0  # packets that the next frame reports as lost before it
        self._counted_round = -1
        self._audio_frames = 0
        self._data_bytes = 0

    @property
    def open(self) -> bool:
        """Whether the call still is on the link."""
        return self._outbox is not None

    @property
    def position(self) -> Position:
        """How far the call is with its backend, for another process that goes on with it."""
        counts = (self._taken_events, self._sent_events, self._clears)
        return Position(self._token, *counts, self._instance)

    async def accepted(self, timeout_s: float | None = None) -> None:
        """Wait until the backend takes the call.

        Raises BackendRefused (CallUnknown for one that was to be resumed), or BackendAbsent when
        the backend is lost, the call is closed, or no answer came within `timeout_s`. The call is
        not closed by a timeout: that is the caller's.
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
        if self._audio_frames >= MAX_CALL_FRAMES or outbox.full:
            self._unsent += lost + 1
            self._link.counters.link_audio_dropped += 1
            return
        self._audio_frames += 1
        self._sent_events += 1
        if self._unsent:
            lost += self._unsent
            self._unsent = 0
        audio = outbox.add(self.number, len(payload) + EVENT_BYTES).audio
        audio.payload = payload
        audio.rtp_time = rtp_time
        audio.duration = duration
        if lost:
            audio.lost = lost

    def send_text(self, label: str, text: str, *, from_server: bool = False) -> None:
        """A text message from the caller's data channel `label`, or from the call's server."""
        data = self._add_data(label, len(text.encode()))
        if data is not None:
            data.text = text
            if from_server:
                data.from_server = True

    def send_binary(self, label: str, content: bytes) -> None:
        """A binary message from the caller's data channel `label`."""
        data = self._add_data(label, len(content))
        if data is not None:
            data.binary = content

    def send_playout(self, sent: int, acked: int, cleared: int, queued: int) -> None:
        """How far the caller's ear is, in frames; only the newest report of a tick travels."""
        if self._outbox is not None:
            self._reports.playout = (sent, acked, cleared, queued)
            self._outbox.ask_for_reports(self)

    def send_network(self, round_trip_s: float | None, packets: int, waited_s: float) -> None:
        """As model.proto's Network, in seconds; only the newest report of a tick travels."""
        if self._outbox is not None:
            self._reports.network = (round_trip_s, packets, waited_s)
            self._outbox.ask_for_reports(self)

    def give_credit(self, frames: int) -> None:
        """Let the backend send `frames` more; credit given in one tick travels as one event."""
        if self._outbox is not None and frames > 0:
            self._credit += frames
            self._reports.credit += frames
            self._outbox.ask_for_reports(self)

    def kept(self, taken_events: int) -> None:
        """Whoever took the call over would know of the backend's events up to there."""
        if self._outbox is not None:
            self._reports.kept = taken_events
            self._outbox.ask_for_reports(self)

    def moving(self) -> None:
        """Leave the call to another process, which resumes it: the sink hears nothing after this.

        A backend that holds no calls hears that it ends (`drained`).
        """
        self._sink = None
        if not self._token:
            self._end("drained")
        elif self._outbox is not None:
            self.write_reports()
            self._outbox.add(self.number, EVENT_BYTES).moving.SetInParent()
            self._leave()

    def heard_by(self, sink: CallSink) -> None:
        """Let another sink hear what follows; nothing happens after the end of the call."""
        if self._sink is not None:
            self._sink = sink

    def close(self, reason: str) -> None:
        """End the call; `reason` as in CallEnded. The sink hears nothing after this."""
        self._sink = None
        self._end(reason)

    # What follows is for the link and the outbox.

    def write_reports(self) -> None:
        """Append what merged while it waited."""
        if self._outbox is not None:
            self._sent_events += self._reports.write(self._outbox, self.number, self._clears)

    def start(
        self,
        session_json: str,
        audio_format: int,
        credit: int,
        unix_ms: int,
        page_may_set: Sequence[str] | None,
        resume: model_pb2.Resume | None = None,
        restored: model_pb2.Restored | None = None,
    ) -> None:
        """Announce the call to the backend; `page_may_set` None: the caller is no page."""
        if self._outbox is None:
            return
        self._credit = credit
        size_bytes = len(session_json.encode()) + EVENT_BYTES
        if restored is not None:
            size_bytes += restored.ByteSize()
        started = self._outbox.add(self.number, size_bytes).started
        started.call_id = self.call_id
        started.format = model_pb2.AudioFormat.ValueType(audio_format)
        started.session_json = session_json
        started.send_credit = credit
        started.started_unix_ms = unix_ms
        if page_may_set is not None:
            started.page.SetInParent()
            started.page.may_set.extend(page_may_set)
        started.resume_token = self._token
        if resume is not None:
            started.resume.CopyFrom(resume)
        if restored is not None:
            started.restored.CopyFrom(restored)

    def deliver(self, event: model_pb2.BackendEvent) -> None:
        """Hand one event to the sink; whatever the sink raises ends this call only."""
        sink = self._sink
        if sink is None:
            return
        try:
            if event.HasField("audio"):
                self._taken_events += 1
                self._credit -= 1
                if self._credit < 0:
                    self._note_violation()
                audio = event.audio
                sink.on_audio(audio.payload, audio.duration)
            else:
                self._deliver_rare(sink, event)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Something of this call raised: end it. Never raises."""
        self._link.counters.link_sink_failures += 1
        self._reports.forget()  # perhaps it is what cannot be written
        sink, self._sink = self._sink, None
        with suppress(Exception):
            self._end("failed")
        with suppress(Exception):
            self._leave()
        if sink is not None:
            sink.on_fault(error)

    def lose(self) -> None:
        """The stream is gone. Never raises."""
        sink = self._sink
        try:
            self._settle(BackendAbsent("the backend was lost"), self._link.on_answer)
            self._outbox = self._sink = None
            if sink is not None:
                sink.on_backend_lost()
        except Exception as error:
            self._sink = sink
            self.fail(error)

    def _deliver_rare(self, sink: CallSink, event: model_pb2.BackendEvent) -> None:
        kind = event.WhichOneof("event")
        if kind not in UNCOUNTED:
            self._taken_events += 1
        match kind:
            case "data":
                data = event.data
                text = data.HasField("text")
                sink.on_data(data.label, data.text if text else data.binary)
            case "clear":
                self._clears += 1
                sink.on_clear()
            case "accepted":
                self._deliver_accepted(sink, event.accepted)
            case "refused":
                refusal = CallUnknown if event.refused.unknown else BackendRefused
                self._settle(refusal(event.refused.reason), self._link.on_answer)
                self._sink = None
                self._leave()
                if event.refused.unknown:
                    sink.on_backend_lost()
            case "remember":
                self._deliver_snapshot(sink, event.remember.snapshot)
            case "hang_up":
                self._leave()
                self._tell_hang_up(event.hang_up.reason)
            case "usage":
                self._link.on_usage(self.call_id, event.usage)
            case "recorded":
                self._link.on_recorded(self.call_id, event.recorded)
            case _:
                pass  # an event of a later minor version of the protocol

    def _deliver_accepted(self, sink: CallSink, accepted: model_pb2.Accepted) -> None:
        sink.on_accepted()
        if accepted.resumed and self._sink is not None:
            self._sink.on_resumed(accepted.playout)
        if accepted.HasField("encoder") and self._sink is not None:
            self._sink.on_encoder(accepted.encoder)
        self._settle(None, self._link.on_answer)

    def _deliver_snapshot(self, sink: CallSink, snapshot: bytes) -> None:
        if len(snapshot) > MAX_SNAPSHOT_BYTES:
            self._link.counters.link_snapshot_violations += 1
        else:
            sink.on_remember(snapshot)

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
        self._sent_events += 1
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

    def _tell_hang_up(self, reason: str) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            try:
                sink.on_hang_up(reason)
            except Exception as error:
                self._sink = sink
                self.fail(error)

    def _end(self, reason: str) -> None:
        outbox = self._outbox
        if outbox is not None:
            self.write_reports()
            outbox.add(self.number, EVENT_BYTES).ended.reason = reason
            self._leave()

    def _leave(self) -> None:
        self._outbox = None
        self._settle(BackendAbsent("the call has ended"))
        self._carrier.forget(self.number)

    def _settle(
        self, error: LinkError | None, tell: Callable[[LinkError | None], None] | None = None
    ) -> None:
        if not self._answer.done():
            self._answer.set_result(error)
            if tell is not None:
                tell(error)
