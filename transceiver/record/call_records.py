"""The records of all live calls of this process.

engine ── begins, ends ──▶ CallRecords ◀── what backends add, operators do
                             │  every TICK_S: gaps; every REPORT_S: media and what it cost
                             ▼
                           CallLog of each call (`fleet.record`)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from fleet.record.writer import CallLog, RecordWriter
from transceiver.call.record import CallRecord
from transceiver.call.session import Session
from transceiver.engine.engine import Engine
from transceiver.record.media_report import MediaReport, Totals
from trunkline.v1 import record_pb2 as pb

TICK_S = 0.5
REPORT_S = 10.0
CALLS_A_TURN = 20  # of the event loop: a report costs some 50 µs
# Of a backend's addition; a whole item is in its content.
MAX_ADDED_BYTES = 8 * 1024
MAX_CLOCK_ERROR_US = 60_000_000  # beyond it a backend's time is not believed
_OF_BACKENDS = frozenset(("item", "turn", "tool", "usage", "model_fault", "session", "consent"))


@dataclass
class _Live:
    session: Session
    log: CallLog
    media: MediaReport


class CallRecords:
    """Opens, feeds and closes them.

    `build` is the version of the process, `region` where it is, `process` its number in its pod.
    """

    def __init__(
        self,
        engine: Engine,
        writer: RecordWriter,
        build: str = "",
        region: str = "",
        process: int = 0,
        cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._build, self._region, self._process = build, region, process
        self._cpu_s = cpu_s
        self._live: dict[str, _Live] = {}
        self._packets = 0  # of all calls, since the CPU time was looked at
        self._cpu_before_s = cpu_s()
        self._cpu_a_packet_s = 0.0
        engine.record_of = self.open
        engine.listen_ended(self._ended)

    def __len__(self) -> int:
        return len(self._live)

    def open(self, session: Session) -> CallRecord:
        """The record of a call that begins here, or goes on here."""
        now, log = self._engine.now(), self._writer.open(session.call_id)
        goes_on = session.secured
        live = _Live(session, log, MediaReport(now, None if goes_on else Totals()))
        self._live[session.call_id] = live
        age_s = max(0.0, time.time() - session.started_unix_ms / 1000) if goes_on else 0.0
        last_words = partial(self._report_last, live)
        record = CallRecord(log, self._engine.now, now - age_s, last_words)
        if goes_on:
            record.moved_here(session.call_id, self._engine.route.node)
        else:
            record.placed(self._placed(session))
        return record

    def added(self, call_id: str, recorded: pb.Recorded) -> None:
        """A backend adds to the record of its call; what is too large or of no kind is left out."""
        live, kind = self._live.get(call_id), recorded.WhichOneof("body")
        if live is None or kind not in _OF_BACKENDS:
            return
        body = getattr(recorded, kind)
        if body.ByteSize() > MAX_ADDED_BYTES:
            live.log.leave_out()
            return
        live.log.tell(
            *(pb.ORIGIN_BACKEND, recorded.content), wall_us=self._believed(recorded), **{kind: body}
        )

    def acted(self, call_id: str, operator: str, act: str, reason: str) -> None:
        """An operator did something to a call."""
        done = pb.OperatorAct(operator=operator, act=act, reason=reason)
        self._tell(call_id, pb.ORIGIN_OPERATOR, operator=done)

    def used_up(self, call_id: str, subject: str) -> None:
        """The budget of a key or a model of the call is used up."""
        self._tell(call_id, pb.ORIGIN_TRANSCEIVER, budget=pb.Budget(subject=subject, used_up=True))

    async def run(self) -> None:
        """Look at all calls every TICK_S, a few in each turn of the event loop."""
        while True:
            await asyncio.sleep(TICK_S)
            self._look_at_cpu()
            for number, call_id in enumerate(list(self._live)):
                if number % CALLS_A_TURN == CALLS_A_TURN - 1:
                    await asyncio.sleep(0)
                if (live := self._live.get(call_id)) is not None:
                    self.look_at(live, self._engine.now())

    def look_at(self, live: _Live, now: float) -> None:
        """Tell the gaps of a call at once, and the rest when it is due."""
        audio = live.session.audio
        for until_s, gap in live.media.gaps(audio, now):
            wall_us = int((time.time() - (now - until_s)) * 1_000_000)
            live.log.tell(gap=gap, wall_us=wall_us)
        if now - live.media.began_s >= REPORT_S:
            self._report(live, now)

    def _report(self, live: _Live, now: float) -> None:
        from_caller, to_caller, to_caller_bytes = live.media.take(live.session.audio, now)
        packets = from_caller.packets + to_caller.packets
        self._packets += packets
        live.log.tell(media=from_caller)
        live.log.tell(media=to_caller)
        used = pb.Resources(cpu_s=packets * self._cpu_a_packet_s, bytes_to_caller=to_caller_bytes)
        live.log.tell(resources=used)

    def _report_last(self, live: _Live) -> None:
        """Of a call that had sound."""
        if live.session.audio.reports is not None:
            self._report(live, self._engine.now())

    def _look_at_cpu(self) -> None:
        """What the process spends for a packet, by the packets of all calls since the last look."""
        if self._packets < 1000:
            return
        cpu_s = self._cpu_s()
        self._cpu_a_packet_s = (cpu_s - self._cpu_before_s) / self._packets
        self._cpu_before_s, self._packets = cpu_s, 0

    def _ended(self, call_id: str) -> None:
        self._live.pop(call_id, None)

    def _tell(self, call_id: str, origin: pb.Origin.ValueType, **body: Any) -> None:
        live = self._live.get(call_id)
        if live is not None:
            live.log.tell(origin, **body)

    def _believed(self, recorded: pb.Recorded) -> int:
        now_us = int(time.time() * 1_000_000)
        return recorded.wall_us if abs(now_us - recorded.wall_us) < MAX_CLOCK_ERROR_US else now_us

    def _placed(self, session: Session) -> pb.Placed:
        route, by = self._engine.route, session.placed_by
        return pb.Placed(
            tenant=by.tenant,
            key_id=by.key_id,
            secret_id=by.secret_id,
            surface=session.surface,
            cluster=route.cluster,
            region=self._region,
            node=route.node,
            process=self._process,
            build=self._build,
            voice_format="opus/red" if session.offer.audio.red_payload_type else "opus",
            data_channel=session.offer.data is not None,
        )
