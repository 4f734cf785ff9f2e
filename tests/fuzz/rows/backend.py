"""The protobuf of the model link: what a backend sends, what a transceiver sends."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from google.protobuf.message import DecodeError

from tests.fuzz.mutation import mutate
from tests.fuzz.row import Reader, Row
from tests.transceiver.caller import OUR_CERTIFICATE, make_offer
from tests.transceiver.engine.test_engine import ROUTE, TOKEN_KEYS, TRUNK_KEYS
from transceiver.counters import Counted
from transceiver.engine.engine import Engine
from transceiver.link.call_handle import CallHandle
from transceiver.link.counters import LinkCounters
from transceiver.link.model_link import MAX_MESSAGE_BYTES, ModelLink
from transceiver.link.stream import EVENTS_A_TURN, LinkStream
from trunkline.backend.backend import Backend
from trunkline.backend.call import Call
from trunkline.backend.events import AudioFormat
from trunkline.backend.roster import Roster
from trunkline.backend.stream import Context, Stream
from trunkline.v1 import model_pb2

_TIDY_BYTES = 64 * 1024
"""Of a batch in the tests of work: half of it in one message is half of what gRPC takes."""


_AUDIO = model_pb2.Audio(payload=bytes(40), rtp_time=9, duration=960)


class SinkFailed(Exception):  # noqa: N818 - what the row found
    """A session raised on what a backend said; the call ended, which is no excuse."""


class _Link:
    """A link of one stream whose other end is whoever holds the reader."""

    ready, accepts = True, (model_pb2.AUDIO_FORMAT_OPUS, model_pb2.AUDIO_FORMAT_PCM16_24000)
    backend, max_calls = "odd", 0

    def __init__(self) -> None:
        self.counters = LinkCounters()
        self.on_answer = self.on_usage = self.on_recorded = _ignore
        self._numbers = itertools.count(1)
        self.stream = LinkStream(cast(Any, self), cast(Any, None), model_pb2.Welcome(), _ignore)

    def open_call(
        self,
        call_id: str,
        session_json: str,
        sink: Any,
        credit: int,
        unix_ms: int,
        kind: int = 1,
        page_may_set: Sequence[str] | None = None,
        **_resume: Any,
    ) -> CallHandle:
        handle = self.stream.add_call(next(self._numbers), call_id, sink)
        handle.start(session_json, kind, credit, unix_ms, page_may_set)
        return handle


def _ignore(*_: object) -> None:
    pass


@asynccontextmanager
async def _from_backend() -> AsyncIterator[Reader]:
    """A process with calls on the link; calls that are ended by what is said come again."""
    link, engine = _Link(), Engine(TOKEN_KEYS, TRUNK_KEYS, ROUTE, OUR_CERTIFICATE)
    stream = link.stream

    def read(data: bytes) -> None:
        batch = model_pb2.ToTransceiver.FromString(data)
        while len(stream._calls) < 3:
            number = next(link._numbers)
            link.accepts = (link.accepts[-1], *link.accepts[:-1])
            link._numbers = itertools.count(number % 8)  # the numbers that seeds name
            engine.create_call(make_offer(), "whip", "", cast(ModelLink, link))
        stream._deliver(batch.events[:EVENTS_A_TURN])  # the rest has turns of its own
        if link.counters.link_sink_failures or engine.counters[Counted.CALL_FAULTS]:
            raise SinkFailed(batch)
        stream.outbox.take()

    try:
        yield read
    finally:
        await engine.close()


@asynccontextmanager
async def _from_transceiver() -> AsyncIterator[Reader]:
    """A stream of the backends' library with a handler that listens and says a little back."""
    failures: list[BaseException] = []

    async def handler(call: Call) -> None:
        try:
            async for _ in call.events():
                call.report_usage(input_tokens=1)
        except Exception as error:
            failures.append(error)
            raise

    formats = (AudioFormat.OPUS, AudioFormat.PCM16_16000)
    backend = Backend(handler, "fuzz", formats, max_calls=8)
    roster = Roster(handler, 1000, lambda: None)
    stream = Stream(backend, cast(Context, None), roster)

    def read(data: bytes) -> None:
        stream._take_in(model_pb2.ToBackend.FromString(data).events)
        stream._outbox.take()
        if failures:
            raise failures.pop()

    try:
        yield read
    finally:
        calls = roster.calls
        roster.hold_none()
        await stream._lose_all(asyncio.create_task(asyncio.sleep(0)))
        await roster.cleaned_up(calls)


def _backend_events() -> tuple[bytes, ...]:
    events = []
    for number in range(8):
        events += [
            model_pb2.BackendEvent(call=number, audio=_AUDIO),
            model_pb2.BackendEvent(call=number, data=model_pb2.Data(label="oai-events", text="{}")),
            model_pb2.BackendEvent(call=number, data=model_pb2.Data(label="é", binary=b"\xff")),
            model_pb2.BackendEvent(call=number, clear=model_pb2.Clear()),
            model_pb2.BackendEvent(call=number, accepted=model_pb2.Accepted()),
            model_pb2.BackendEvent(call=number, refused=model_pb2.Refused(reason="no")),
            model_pb2.BackendEvent(call=number, hang_up=model_pb2.HangUp(reason="hangup")),
            model_pb2.BackendEvent(call=number, refused=model_pb2.Refused(unknown=True)),
            model_pb2.BackendEvent(call=number, remember=model_pb2.Remember(snapshot=b"{}")),
            model_pb2.BackendEvent(call=number, usage=model_pb2.Usage(input_tokens=1, price=0.5)),
        ]  # fmt: skip
    return tuple(model_pb2.ToTransceiver(events=[event]).SerializeToString() for event in events)


def _call_events() -> tuple[bytes, ...]:
    events = []
    for number in range(4):
        started = model_pb2.CallStarted(
            call_id="rtc_x", format=model_pb2.AUDIO_FORMAT_OPUS, session_json="{}", send_credit=9
        )
        resumable = _resumable(f"rtc_{number}")
        events += [
            model_pb2.CallEvent(call=number, started=started),
            model_pb2.CallEvent(call=number, started=resumable),
            model_pb2.CallEvent(call=number, started=_restored(resumable)),
            model_pb2.CallEvent(call=number + 2, started=_resumed(resumable)),
            model_pb2.CallEvent(call=number, kept=model_pb2.Kept(taken_events=1)),
            model_pb2.CallEvent(call=number, moving=model_pb2.Moving()),
            model_pb2.CallEvent(call=number, audio=_AUDIO),
            model_pb2.CallEvent(call=number, data=model_pb2.Data(label="oai-events", text="{}")),
            model_pb2.CallEvent(call=number, playout=model_pb2.Playout(sent_frames=1, clears=1)),
            model_pb2.CallEvent(call=number, credit=model_pb2.Credit(frames=1)),
            model_pb2.CallEvent(call=number, network=model_pb2.Network(packets=1, waited_ms=2.5)),
            model_pb2.CallEvent(call=number, ended=model_pb2.CallEnded(reason="hangup")),
        ]  # fmt: skip
    return tuple(model_pb2.ToBackend(events=[event]).SerializeToString() for event in events)


def _resumable(call_id: str) -> model_pb2.CallStarted:
    return model_pb2.CallStarted(
        call_id=call_id, format=model_pb2.AUDIO_FORMAT_OPUS, send_credit=9, resume_token=bytes(16)
    )


def _restored(started: model_pb2.CallStarted) -> model_pb2.CallStarted:
    again = model_pb2.CallStarted()
    again.CopyFrom(started)
    again.restored.CopyFrom(model_pb2.Restored(snapshot=b"{}", losses=1, gap_ms=5))
    return again


def _resumed(started: model_pb2.CallStarted) -> model_pb2.CallStarted:
    again = model_pb2.CallStarted()
    again.CopyFrom(started)
    again.resume.CopyFrom(model_pb2.Resume(taken_events=2, sent_events=3, exact=True))
    return again


_SAID, _HEARD = _backend_events(), _call_events()


def _damaged_protobuf(chance: random.Random, data: bytes) -> bytes:
    """One message, or several joined, which is one of all their events; then some damage."""
    pool = _SAID if data in _SAID else _HEARD
    joined = data + b"".join(chance.choice(pool) for _ in range(chance.randrange(4)))
    return joined if chance.random() < 0.3 else mutate(chance, joined)


def _batches(events: Iterable[bytes]) -> Any:
    return lambda size: [event * max(1, size // len(event)) for event in events]


ROWS = (
    Row(
        name="what a backend sends",
        where="transceiver/link/stream.py",
        who="backends",
        largest=_TIDY_BYTES,
        steps=150_000,
        becomes="the stream ends, when it is no protobuf; else the event is passed over",
        open=_from_backend,
        seeds=_SAID,
        worst=_batches(_SAID[8:16]),
        refusals=(DecodeError,),
        mutate=_damaged_protobuf,
        weight=4,
        renew_after=2_000,
    ),
    Row(
        name="what a transceiver sends",
        where="library/trunkline/backend/stream.py",
        who="transceivers",
        largest=_TIDY_BYTES,
        steps=500_000,
        becomes="the stream ends, when it is no protobuf; else the event is passed over",
        open=_from_transceiver,
        seeds=_HEARD,
        worst=_batches(_HEARD[:11]),
        refusals=(DecodeError,),
        mutate=_damaged_protobuf,
        weight=4,
        renew_after=2_000,
    ),
)
assert MAX_MESSAGE_BYTES >= _TIDY_BYTES
