"""Writes the record of the calls of one process: events are told at once and sent in batches.

    CallLog.tell ─▶ Chain ─▶ Backlog ─▶ (run, every FLUSH_S) ─▶ RecordStream

To tell an event costs some ten microseconds and never waits. When the stream cannot be reached, or
is full, events wait in the backlog; beyond its bound they are left out, and the next event that is
written says so (`Hole`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog

from fleet.errors import StoreUnavailable
from fleet.outages import OutageCounter
from fleet.record.backlog import Backlog, Outgoing
from fleet.record.chain import Chain
from fleet.record.redaction import Redact, redact
from fleet.record.stream import RecordStream
from trunkline.v1 import record_pb2 as pb

FLUSH_S = 0.2
# When a batch that is not stored is looked for: the stream may have lost it.
OVERDUE_S = 5.0
MAX_LOOKED_FOR = 100  # batches at once
LAST_WORDS_S = 2.0  # at the end of the process
# Events of one call: enough for everything that happens in one, and no flood.
CALL_BURST = 500
CALL_RATE_PER_S = 20.0

log = structlog.get_logger(__name__)


class CallLog:
    """The record of one call, as this process tells it."""

    __slots__ = ("_chain", "_left", "_missing", "_refilled_s", "_writer", "call_id")

    def __init__(self, writer: RecordWriter, call_id: str) -> None:
        self.call_id = call_id
        self._writer = writer
        self._chain = Chain(call_id, writer.source)
        self._left = float(CALL_BURST)
        self._refilled_s = writer.now()
        self._missing: pb.Hole | None = None  # numbers that were left out since the last event

    def tell(
        self,
        origin: pb.Origin.ValueType = pb.ORIGIN_TRANSCEIVER,
        content: str = "",
        *,
        wall_us: int = 0,
        **body: Any,
    ) -> None:
        """Something happened: `body` is one member of Event's oneof, by its name.

        Redacts the content. `wall_us` is when, if not now. Never raises: what happens to the record
        is nothing that a call may suffer from.
        """
        try:
            self._tell(origin, content, wall_us, body)
        except Exception:
            self._writer.counters["record_faults"] += 1

    def _tell(
        self, origin: pb.Origin.ValueType, content: str, wall_us: int, body: dict[str, Any]
    ) -> None:
        reason = self._refusal()
        if reason or not self._write(origin, content, wall_us, body):
            self.leave_out(reason or pb.HOLE_REASON_BACKLOG)

    def _write(
        self, origin: pb.Origin.ValueType, content: str, wall_us: int, body: dict[str, Any]
    ) -> bool:
        writer = self._writer
        if not writer.has_room:
            return False
        if self._missing is not None:
            hole, self._missing = self._missing, None
            self._add(pb.ORIGIN_TRANSCEIVER, 0, "", {"hole": hole})
        self._add(origin, wall_us, writer.redact(content) if content else "", body)
        return True

    def _add(
        self, origin: pb.Origin.ValueType, wall_us: int, content: str, body: dict[str, Any]
    ) -> None:
        writer = self._writer
        wall_us = wall_us or int(writer.unix_s() * 1_000_000)
        monotonic_us = int(writer.now() * 1_000_000)
        writer.add(self._chain.add(origin, wall_us, monotonic_us, content, body))

    def _refusal(self) -> pb.HoleReason.ValueType | None:
        now = self._writer.now()
        self._left += (now - self._refilled_s) * CALL_RATE_PER_S
        self._left, self._refilled_s = min(self._left, CALL_BURST), now
        if self._left < 1:
            return pb.HOLE_REASON_CALL_LIMIT
        self._left -= 1
        return None

    def leave_out(self, reason: pb.HoleReason.ValueType = pb.HOLE_REASON_CALL_LIMIT) -> None:
        """Something happened that is not written: the next event says that it is missing."""
        self._chain.leave_out()
        self._writer.counters["record_events_left_out"] += 1
        if self._missing is None:
            self._missing = pb.Hole(first=self._chain.number, reason=reason)
        self._missing.last = self._chain.number


class RecordWriter:
    """The record of one life of a process; `source` names it.

        writer = RecordWriter(stream, "transceiver-0")
        task = tasks.create_task(writer.run())
        log = writer.open(call_id)
        log.tell(connected=pb.Connected(waited_ms=20))
        await writer.close()                          # what waits has LAST_WORDS_S

    `redact` is the policy for contents. `counters` has what was written and what was not.
    """

    def __init__(
        self,
        stream: RecordStream,
        role: str,
        *,
        redact: Redact = redact,
        backlog: Backlog | None = None,
        now: Callable[[], float] = time.monotonic,
        unix_s: Callable[[], float] = time.time,
        flush_s: float = FLUSH_S,
        overdue_s: float = OVERDUE_S,
    ) -> None:
        self._id = secrets.token_hex(8)  # in clear in Redis, so it says nothing
        self.source = f"{role}-{secrets.token_hex(4)}"
        self._redact = redact
        self._stream = stream
        self._backlog = backlog or Backlog()
        self.now = now
        self.unix_s = unix_s
        self._flush_s = flush_s
        self._overdue_s = overdue_s
        self._outages = OutageCounter("record")
        self._enough = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._closing = self._stream_full = False
        self.counters: Counter[str] = Counter(
            record_events=0,
            record_events_left_out=0,
            record_batches_sent_again=0,
            record_stream_full=0,
            record_redaction_failed=0,
            record_faults=0,
        )

    def open(self, call_id: str) -> CallLog:
        """The record of a call that begins here, or goes on here."""
        return CallLog(self, call_id)

    @property
    def has_room(self) -> bool:
        """Whether the backlog takes an event of any size."""
        return self._backlog.has_room

    @property
    def waiting_events(self) -> int:
        """Events that are not in the stream yet."""
        return self._backlog.waiting_events

    @property
    def unconfirmed_batches(self) -> int:
        """Batches that are in the stream, and of which nobody has said that they are stored."""
        return self._backlog.copies

    def redact(self, content: str) -> str:
        """What may be stored of a text; nothing, when the rule fails."""
        try:
            return self._redact(content)
        except Exception:
            self.counters["record_redaction_failed"] += 1
            return ""

    def add(self, envelope: pb.Envelope) -> None:
        """Let an event wait for the next batch."""
        self.counters["record_events"] += 1
        self._backlog.add(envelope)
        if self._backlog.full_batch:
            self._enough.set()

    async def run(self) -> None:
        """Send what waits until `close`."""
        while not self._closing:
            await self._until_due()
            await self.flush()

    async def close(self) -> None:
        """Send what waits; what cannot be sent in LAST_WORDS_S is lost."""
        self._closing = True
        self._enough.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self.flush()
        if self._backlog.waiting_events:
            log.warning("record_lost", events=self._backlog.waiting_events)

    async def flush(self) -> None:
        """Send what waits now, and look after what was sent. Does not raise."""
        async with self._one_at_a_time:
            try:
                await self._send_all()
                await self._look_after()
            except StoreUnavailable as error:
                self._outages.failed(error)
            else:
                self._outages.answered()

    async def _until_due(self) -> None:
        """Until there is enough for a batch; a stream that takes nothing is left alone a while."""
        if self._stream_full or self._outages.failures:
            await asyncio.sleep(max(self._flush_s, self._outages.pause_s))
            return
        self._enough.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._flush_s):
                await self._enough.wait()

    async def _send_all(self) -> None:
        self._stream_full = False
        while (batch := self._backlog.next_batch()) is not None:
            if not await self._send(batch):
                self._stream_full = True
                self.counters["record_stream_full"] += 1
                return

    async def _send(self, batch: Outgoing) -> bool:
        entry = await self._stream.put(self._id, batch.number, batch.content)
        if entry is not None:
            self._backlog.sent(batch, entry, self.now())
        return entry is not None

    async def _look_after(self) -> None:
        """Forget what is stored; send again what the stream has lost."""
        if not self._backlog.copies:
            return
        self._backlog.stored(await self._stream.stored(self._id))
        overdue = self._backlog.overdue(self.now() - self._overdue_s, MAX_LOOKED_FOR)
        if not overdue:
            return
        missing = await self._stream.missing([batch.entry for batch in overdue])
        # What was stored after we asked is not in the stream either.
        self._backlog.stored(await self._stream.stored(self._id))
        self._backlog.seen([b for b in overdue if b.entry not in missing], self.now())
        for batch in overdue:
            if batch.entry in missing and self._backlog.has(batch):
                self.counters["record_batches_sent_again"] += 1
                await self._send(batch)
