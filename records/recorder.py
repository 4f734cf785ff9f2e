"""From the stream to the store: read, open, store, finish; and once more whatever fails.

What was stored and not finished comes again, and is not stored twice. While the store is away the
recorder holds the entries of one turn and waits; everything else waits in the stream.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import structlog
from google.protobuf.message import DecodeError

from fleet.errors import StoreUnavailable
from fleet.outages import OutageCounter
from fleet.record.stream import BatchSeal
from fleet.seal import BrokenSeal
from records.intake import Entry, Intake
from records.store.errors import NotStorable
from records.store.rows import Recorded, Unreadable, read
from records.store.store import Store
from records.store.writing import Written

log = structlog.get_logger(__name__)


class Recorder:
    """One recorder; `run` it. `counters` has what became of what was read."""

    def __init__(self, intake: Intake, store: Store, seal: BatchSeal) -> None:
        self._intake = intake
        self._store = store
        self._seal = seal
        self._stream_outages = OutageCounter("recorder_stream")
        self._store_outages = OutageCounter("recorder_store")
        self.counters: Counter[str] = Counter(
            stored=0, repeated=0, unreadable=0, not_storable=0, batches=0, batches_unreadable=0
        )

    @property
    def well(self) -> bool:
        """Whether stream and store answered when they were asked last."""
        return not (self._stream_outages.failures or self._store_outages.failures)

    @property
    def backlog(self) -> int:
        """Entries that wait in the stream."""
        return self._intake.backlog

    async def run(self) -> None:
        """Store what comes, until cancelled."""
        while True:
            await self.turn()

    async def turn(self) -> None:
        """Take some entries, and do not return before they are stored or the stream is away."""
        try:
            entries = await self._intake.take()
            if entries:
                opened = [(entry, self._opened(entry)) for entry in entries]
                await self._store_all([one for _, events in opened for one in events or ()])
                await self._finish(opened)
        except StoreUnavailable as error:
            self._intake.failed()
            self._stream_outages.failed(error)
            await asyncio.sleep(self._stream_outages.pause_s)
        else:
            self._stream_outages.answered()

    async def _finish(self, opened: Sequence[tuple[Entry, object]]) -> None:
        # What cannot be opened is dropped, and its writer is not told: if it is one of ours with a
        # newer key, it will send its copy again until a recorder with that key is there.
        self.counters["batches"] += len(opened)
        unread = [entry for entry, events in opened if events is None]
        self.counters["batches_unreadable"] += len(unread)
        await self._intake.finish([e for e, events in opened if events is not None], unread)

    async def _store_all(self, events: Sequence[Recorded]) -> None:
        while events:
            try:
                self._count(await asyncio.to_thread(self._write, events))
            except StoreUnavailable as error:
                self._store_outages.failed(error)
                await asyncio.sleep(self._store_outages.pause_s)
            else:
                self._store_outages.answered()
                return

    def _write(self, events: Sequence[Recorded]) -> Written:
        """All in one transaction; when the store refuses that, each event by itself."""
        try:
            return self._store.write(events)
        except NotStorable:
            pass
        written = Written()
        for event in events:
            try:
                written += self._store.write([event])
            except NotStorable as error:
                self.counters["not_storable"] += 1
                log.error("event_not_storable", kind=event.kind, reason=str(error))
        return written

    def _count(self, written: Written) -> None:
        self.counters["stored"] += written.new
        self.counters["repeated"] += written.repeated

    def _opened(self, entry: Entry) -> list[Recorded] | None:
        """The events of an entry; None for one that cannot be opened."""
        try:
            batch = self._seal.open(entry.writer, entry.number, entry.sealed)
        except (BrokenSeal, DecodeError):
            return None
        events: list[Recorded] = []
        for envelope in batch.envelopes:
            try:
                events.append(read(envelope))
            except Unreadable:
                self.counters["unreadable"] += 1
        return events
