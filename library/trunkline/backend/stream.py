"""One transceiver's stream: it takes calls in, or takes them over, and writes what they say.

Nothing is made per event. What becomes of the calls when the stream ends is the roster's to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable

import grpc
import grpc.aio

from trunkline.backend.backend import PROTOCOL, Backend
from trunkline.backend.call import Call
from trunkline.backend.encoder import NO_WISHES
from trunkline.backend.events import AudioFormat
from trunkline.backend.joining import Joining
from trunkline.backend.outbox import Outbox
from trunkline.backend.roster import CANCEL_PATIENCE_S, Roster
from trunkline.v1 import model_pb2

HELLO_TIMEOUT_S = 5.0

Context = grpc.aio.ServicerContext[model_pb2.ToBackend, model_pb2.ToTransceiver]
log = logging.getLogger(__name__)


class Stream:
    """The calls of one transceiver process, from its Hello to the end of its stream."""

    def __init__(self, backend: Backend, context: Context, roster: Roster) -> None:
        self._backend = backend
        self._context = context
        self._roster = roster
        self._outbox = Outbox()
        self._calls: dict[int, Call] = {}
        self._transceiver = ""
        self._joining: dict[int, Joining] = {}  # calls that another stream has not said all of
        self._awaited: dict[Call, Joining] = {}  # calls of ours that others want to resume
        self._stray_events = 0

    def leave(self) -> None:
        """Ask the transceiver for no more calls; those that are there, or on their way, go on."""
        self._outbox.say_leaving()

    async def run(self) -> None:
        """Serve until the transceiver or the server ends the stream."""
        hello = await self._greet()
        self._transceiver = hello.transceiver
        peer = {"transceiver": hello.transceiver}
        log.info("transceiver_connected", extra=peer)
        writer = asyncio.create_task(self._write(), name="backend-writer")
        try:
            while isinstance(batch := await _read(self._context), model_pb2.ToBackend):
                self._take_in(batch.events)
                if self._awaited:
                    self._see_who_is_awaited()
        finally:
            writer.cancel()
            await self._lose_all(writer)
            log.info("transceiver_gone", extra=peer | {"stray_events": self._stray_events})

    # For the roster, and for streams that take calls over.

    def forget(self, call: Call) -> None:
        """The call is over, or is carried elsewhere, or is held."""
        self._calls.pop(call.number, None)
        awaiting = self._awaited.pop(call, None)
        if awaiting is not None:
            awaiting.done()

    def tell(self, call: Call, joining: Joining) -> None:
        """Tell `joining` when all of the call that it waits for was taken in, or none will be."""
        self._awaited[call] = joining

    # Inside.

    async def _greet(self) -> model_pb2.Hello:
        first = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                first = await _read(self._context)
        if first is None or not first.HasField("hello"):
            code = grpc.StatusCode.INVALID_ARGUMENT
            await self._context.abort(code, "a stream begins with a Hello")
        if first.hello.protocol != PROTOCOL:
            theirs = first.hello.protocol
            code = grpc.StatusCode.UNIMPLEMENTED
            await self._context.abort(
                code, f"this backend speaks protocol {PROTOCOL}, not {theirs}"
            )
        await self._context.write(self._backend.welcome(self._roster.hold_ms))
        return first.hello

    def _take_in(self, events: Iterable[model_pb2.CallEvent]) -> None:
        calls, joining = self._calls, self._joining
        for event in events:
            call = calls.get(event.call)
            if event.HasField("started"):
                self._start(event.call, event.started)
            elif call is None:
                if event.call in joining:
                    joining[event.call].put(event)
                else:  # the call is over, or carried elsewhere, and its owner has not heard so
                    self._stray_events += 1
            elif event.HasField("ended"):
                self._roster.end(call)
            elif event.HasField("moving"):
                self._roster.lose(call)
            else:
                call.hear(event)

    def _start(self, number: int, started: model_pb2.CallStarted) -> None:
        reason = self._objection(number, started)
        if reason:
            self._outbox.add(number, len(reason)).refused.reason = reason
        elif started.HasField("resume"):
            self._resume(number, started)
        else:
            self._begin(number, started)

    def _begin(self, number: int, started: model_pb2.CallStarted) -> None:
        call = Call(number, started, self._outbox, self._roster.hung_up, self._transceiver)
        self._accept(number)
        self._calls[number] = call
        self._roster.begin(call, self)

    def _accept(self, number: int) -> model_pb2.Accepted:
        accepted = self._outbox.add(number).accepted
        accepted.SetInParent()
        if self._backend.encoder != NO_WISHES:
            accepted.encoder.CopyFrom(self._backend.encoder.message())
        return accepted

    def _objection(self, number: int, started: model_pb2.CallStarted) -> str:
        limit = self._backend.max_calls
        if number in self._calls or number in self._joining:
            return "call number in use"
        if int(started.format) not in self._backend.accepts:
            return "audio format not accepted"
        if started.HasField("resume"):  # it has its place here already
            return ""
        if limit and self._roster.handled_for(self) >= limit:
            return f"at the limit of {limit} calls"
        return ""

    # Inside: calls of another stream go on here.

    def _resume(self, number: int, started: model_pb2.CallStarted) -> None:
        call = self._roster.resumable(started.call_id, started.resume_token)
        carrier = self._roster.carrier_of(call) if call is not None else None
        if call is None or carrier is None or not _says_more(call, started.resume):
            self._join(number, started)
            return
        joining = Joining(started.resume.sent_events, lambda: self._joined(number, started))
        self._joining[number] = joining
        carrier.tell(call, joining)

    def _joined(self, number: int, started: model_pb2.CallStarted) -> None:
        joining = self._joining.pop(number)
        self._join(number, started)
        self._take_in(joining.events)

    def _join(self, number: int, started: model_pb2.CallStarted) -> None:
        call = self._roster.resumable(started.call_id, started.resume_token)
        if call is None or call.audio_format != AudioFormat(started.format):
            refused = self._outbox.add(number, len("unknown call")).refused
            refused.reason, refused.unknown = "unknown call", True
            return
        if not call.over:
            self._roster.carry(call, self)
            self._calls[number] = call
        accepted = self._accept(number)
        call.resume(number, started, accepted, self._outbox, self._transceiver)

    def _see_who_is_awaited(self) -> None:
        for call, joining in list(self._awaited.items()):
            if call.heard_events >= joining.sent_events:
                del self._awaited[call]
                joining.done()

    # Inside: the end, and writing.

    async def _lose_all(self, writer: asyncio.Task[None]) -> None:
        for joining in self._joining.values():
            joining.cancel()
        calls = list(self._calls.values())
        for call in calls:
            self._roster.lose(call)
        self._outbox.take()  # wakes who waits for room
        await asyncio.wait([writer], timeout=CANCEL_PATIENCE_S)
        await self._roster.cleaned_up(call for call in calls if call.over)

    async def _write(self) -> None:
        # A failed write ends the stream, which the reader sees as well.
        with contextlib.suppress(grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
            while True:
                await self._outbox.wait()
                for batch in self._outbox.take():
                    await self._context.write(batch)


def _says_more(call: Call, resume: model_pb2.Resume) -> bool:
    """Whether the old owner, which has stopped by itself, has said more than has come."""
    return resume.exact and call.heard_events < resume.sent_events


async def _read(context: Context) -> model_pb2.ToBackend | None:
    message: object = await context.read()
    return message if isinstance(message, model_pb2.ToBackend) else None
