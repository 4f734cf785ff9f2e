"""One call, as its handler holds it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from trunkline.backend.events import (
    FRAME_TICKS,
    Audio,
    AudioFormat,
    Binary,
    Event,
    Network,
    Playout,
    Text,
)
from trunkline.backend.inbox import Inbox
from trunkline.backend.outbox import EVENT_BYTES, Outbox
from trunkline.backend.restored import Restored, check_snapshot
from trunkline.backend.sent_log import Again, SentLog
from trunkline.v1 import model_pb2, record_pb2

log = logging.getLogger(__name__)

MAX_DATA_BYTES = 256 * 1024  # as much as browsers take in one data-channel message
WAITING_BYTES = 64 * 1024  # what a call may have unwritten before its sends wait


class CallOver(Exception):  # noqa: N818 - says what happened, and is no mistake of the handler
    """The call has ended; nothing can be sent on it."""


class Call:
    """A live call: iterate `events()`, and send.

    `id` is the public call id, `session_json` the caller's session object as it came ("" if none),
    `page_may_set` what a page may set of it (docs/realtime.md; None: the caller is no page),
    `audio_format` what audio is written in, both ways, `transceiver` who carries it, `restored`
    where another backend had the call before and is lost (None: the call is new). The handler is
    cancelled when the call ends, whoever ends it; a handler that returns hangs up.
    """

    def __init__(
        self,
        number: int,
        started: model_pb2.CallStarted,
        outbox: Outbox,
        on_hang_up: Callable[[Call], None],
        transceiver: str = "",
    ) -> None:
        self.id = started.call_id
        self.transceiver = transceiver
        self.session_json = started.session_json
        self.page_may_set = tuple(started.page.may_set) if started.HasField("page") else None
        self.audio_format = AudioFormat(started.format)
        self.started_unix_ms = started.started_unix_ms
        self.restored = Restored.of(started)
        self.playout = Playout()  # the newest report
        self.network = Network()  # the newest report
        self.number = number
        self.resume_token = started.resume_token  # empty: nobody can resume it
        self.heard_events = 0  # as model.proto counts them
        self._snapshot = b""  # the newest; whoever resumes the call gets it again
        self._log = SentLog() if self.resume_token else SentLog(max_events=0)
        self._inbox = Inbox()
        self._outbox = outbox
        self._on_hang_up = on_hang_up
        self._over = False
        self._arrival: asyncio.Future[None] | None = None
        self._queue_frames = started.send_credit
        if self.restored is not None:  # the room of the others' frames comes back as credit, too
            self._queue_frames += self.restored.playout.queued
        self._granted = started.send_credit  # frames that may have been sent, since the call began
        self._credit_came = asyncio.Event()
        self._clears = 0
        self._clearing: list[tuple[int, asyncio.Future[Playout]]] = []
        self._counted_round = -1
        self._waiting_bytes = 0

    def __repr__(self) -> str:
        return f"<Call {self.id}{' over' if self._over else ''}>"

    @property
    def call_id(self) -> str:
        """The public call id, by the name that operators know it."""
        return self.id

    @property
    def over(self) -> bool:
        """Whether the call has ended."""
        return self._over

    @property
    def dropped_frames(self) -> int:
        """Frames of the caller that this handler was too slow to hear."""
        return self._inbox.dropped_frames

    def events(self) -> AsyncIterator[Event]:
        """What happens on the call, in order, until it ends; for one reader at a time."""
        return _Events(self)

    async def send_audio(self, payload: bytes, duration: int = FRAME_TICKS) -> None:
        """Queue one frame for the caller, `duration` in 48 kHz ticks; waits for credit.

        Credit comes back as frames are played, so a handler may send as fast as it can and runs
        ahead of the caller's ear by the queue of the transceiver, no further. Raises CallOver.
        """
        while (dry := self._log.frames >= self._granted) or not self._has_room():
            await (self._next_credit() if dry else self._outbox.next_round())
        self._count(len(payload))
        self._log.add_audio(payload, duration)
        audio = self._outbox.add(self.number, len(payload)).audio
        audio.payload = payload
        audio.duration = duration

    async def send_pcm(self, pcm: bytes) -> None:
        """Queue PCM of any length in the call's format, as frames of 20 ms; waits for credit.

        The last frame is filled up with silence. Raises CallOver, and ValueError where the
        format is Opus.
        """
        size_bytes = self.audio_format.frame_bytes
        for start in range(0, len(pcm), size_bytes):
            await self.send_audio(pcm[start : start + size_bytes].ljust(size_bytes, b"\0"))

    async def send_text(self, label: str, text: str) -> None:
        """Send text on the caller's data channel `label`; waits while the stream is congested.

        Raises CallOver, and ValueError for more than MAX_DATA_BYTES.
        """
        await self._send_data(model_pb2.Data(label=label, text=text), len(text.encode()))

    async def send_binary(self, label: str, content: bytes) -> None:
        """Send bytes on the caller's data channel `label`, as `send_text` does."""
        await self._send_data(model_pb2.Data(label=label, binary=content), len(content))

    async def clear(self) -> Playout:
        """Forget the audio still queued for the caller, who interrupted.

        Returns how far the caller's ear was then. Raises CallOver.
        """
        await self._room(0)
        self._say(model_pb2.BackendEvent(clear=model_pb2.Clear()))
        self._clears += 1
        answer: asyncio.Future[Playout] = asyncio.get_running_loop().create_future()
        self._clearing.append((self._clears, answer))
        return await answer

    def report_usage(
        self,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        seconds: float = 0.0,
        price: float = 0.0,
    ) -> None:
        """Say what the call used of the model since the last report; nothing once it is over.

        Tokens count against the budgets of the caller's key and of the model
        (TRUNKLINE_TRANSCEIVER_LIMITS).
        """
        if self._over:
            return
        usage = model_pb2.Usage(
            input_tokens=input_tokens, output_tokens=output_tokens, seconds=seconds, price=price
        )
        self._say(model_pb2.BackendEvent(usage=usage))

    def remember(self, snapshot: bytes) -> None:
        """Keep what another backend needs to go on with the conversation, if this one is lost.

        The newest snapshot replaces the one before; of those given in one turn of the event loop
        only the last travels. Raises ValueError for more than MAX_SNAPSHOT_BYTES. Nothing once the
        call is over.
        """
        check_snapshot(snapshot)
        if not self._over:
            self._snapshot = snapshot
            self._outbox.remember(self.number, snapshot)

    def record(self, recorded: record_pb2.Recorded) -> None:
        """Add to the record of the call (record.proto); nothing once it is over.

        The transceiver gives it its place among the other events, and redacts its content. It has a
        rate, beyond which it leaves events out; the record says how many.
        """
        if not self._over:
            self._say(model_pb2.BackendEvent(recorded=recorded), recorded.ByteSize())

    def hang_up(self, reason: str = "hangup") -> None:
        """End the call; the handler is cancelled at its next await. Twice does nothing."""
        if not self._over:
            hang_up = model_pb2.HangUp(reason=reason)
            self._say(model_pb2.BackendEvent(hang_up=hang_up), len(reason))
            self._log.note_played(self._log.frames)  # nobody will hear what is queued
            self._on_hang_up(self)

    # What follows is for the stream that carries the call.

    def hear(self, event: model_pb2.CallEvent) -> None:
        """Take in an event from the transceiver."""
        self.heard_events += 1
        if event.HasField("audio"):
            audio = event.audio
            self._inbox.put_audio(Audio(audio.payload, audio.rtp_time, audio.duration, audio.lost))
            self._arrived()
        elif event.HasField("data"):
            self._hear_data(event.data)
        elif event.HasField("playout"):
            self._hear_playout(event.playout)
        elif event.HasField("credit"):
            self._granted += event.credit.frames
            self._log.note_played(self._granted - self._queue_frames)
            self._credit_came.set()
        elif event.HasField("network"):
            self._hear_network(event.network)
        elif event.HasField("kept"):
            self.heard_events -= 1  # not counted, as model.proto says
            self._log.kept(event.kept.taken_events)

    def end(self) -> None:
        """Nothing more can be sent or heard; whoever waits learns it."""
        self._over = True
        self._credit_came.set()
        self._arrived()
        for _, answer in self._clearing:
            if not answer.done():
                answer.set_exception(CallOver(self.id))
        self._clearing.clear()

    def hold(self) -> None:
        """Nobody carries the call: what is sent waits, up to WAITING_BYTES and the credit."""
        self._write_to(Outbox())

    def resume(
        self,
        number: int,
        started: model_pb2.CallStarted,
        accepted: model_pb2.Accepted,
        outbox: Outbox,
        transceiver: str,
    ) -> None:
        """Go on over another stream: fill `accepted` in, and say again what was not taken."""
        again = self._log.resume(started.resume.taken_events)
        if again.hole:
            log.warning("events_forgotten", extra={"call_id": self.id, "events": again.hole})
        self.number, self.transceiver = number, transceiver
        self.heard_events = started.resume.sent_events
        self._queue_frames = started.send_credit
        self._granted = again.played + started.send_credit
        self._write_to(outbox)
        accepted.resumed = True
        accepted.playout.CopyFrom(self._ear(again))
        for event, size_bytes in again.events:
            event.call = number
            outbox.add(number, size_bytes).MergeFrom(event)
        if self._snapshot:
            outbox.remember(number, self._snapshot)
        self._credit_came.set()

    async def next_event(self) -> Event | None:
        """The next event; None when the call is over and everything was read."""
        while (event := self._inbox.take()) is None:
            if self._over:
                return None
            if self._arrival is not None:
                raise RuntimeError("two readers of one call's events")
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        return event

    def _arrived(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _hear_data(self, data: model_pb2.Data) -> None:
        message: Text | Binary
        if data.HasField("text"):
            message = Text(data.label, data.text, data.from_server)
        else:
            message = Binary(data.label, data.binary)
        if self._inbox.put_message(message, data.ByteSize()):
            self._arrived()
        else:
            log.warning("messages_overflowed", extra={"call_id": self.id})
            self.hang_up("failed")

    def _hear_playout(self, report: model_pb2.Playout) -> None:
        self.playout = Playout.of(report)
        self._log.note_played(report.sent_frames + report.cleared_frames)
        self._inbox.put_playout(self.playout)
        self._arrived()
        waiting, self._clearing = self._clearing, []
        for number, answer in waiting:
            if number > report.clears:
                self._clearing.append((number, answer))
            elif not answer.done():
                answer.set_result(self.playout)

    def _hear_network(self, report: model_pb2.Network) -> None:
        known = report.HasField("round_trip_ms")
        round_trip_ms = report.round_trip_ms if known else None
        self.network = Network(round_trip_ms, report.packets, report.waited_ms)

    async def _next_credit(self) -> None:
        if self._over:
            raise CallOver(self.id)
        self._credit_came.clear()
        await self._credit_came.wait()

    async def _room(self, size_bytes: int) -> None:
        """Wait until this call's share of the outbox has room, then count `size_bytes`."""
        while not self._has_room():
            await self._outbox.next_round()
        self._count(size_bytes)

    def _count(self, size_bytes: int) -> None:
        if self._over:
            raise CallOver(self.id)
        self._waiting_bytes += size_bytes + EVENT_BYTES

    def _has_room(self) -> bool:
        if self._counted_round != self._outbox.round:
            self._counted_round = self._outbox.round
            self._waiting_bytes = 0
        return self._over or self._waiting_bytes < WAITING_BYTES

    def _write_to(self, outbox: Outbox) -> None:
        left, self._outbox = self._outbox, outbox
        self._counted_round = -1
        left.nudge()

    def _ear(self, again: Again) -> model_pb2.Playout:
        cleared = self.playout.cleared + again.cleared
        return model_pb2.Playout(
            sent_frames=again.played - cleared,
            acked_frames=self.playout.acked,
            cleared_frames=cleared,
        )

    def _say(self, event: model_pb2.BackendEvent, size_bytes: int = 0) -> None:
        self._log.add(event, size_bytes)
        event.call = self.number
        self._outbox.add(self.number, size_bytes).MergeFrom(event)

    async def _send_data(self, data: model_pb2.Data, size_bytes: int) -> None:
        size_bytes += len(data.label.encode())
        if size_bytes > MAX_DATA_BYTES:
            raise ValueError(f"a data message has {size_bytes} bytes, more than {MAX_DATA_BYTES}")
        await self._room(size_bytes)
        self._say(model_pb2.BackendEvent(data=data), size_bytes)


class _Events:
    """An iterator and not a generator: a loop left early leaves nothing to be closed."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> Event:
        event = await self._call.next_event()
        if event is None:
            raise StopAsyncIteration
        return event
