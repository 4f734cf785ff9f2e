"""One transceiver's stream: it hands every call to a handler, and ends them together.

The handlers of a stream are its tasks; nothing else is made per call, and nothing per event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable

import grpc
import grpc.aio

from trunkline.backend.backend import PROTOCOL, Backend
from trunkline.backend.call import Call, CallOver
from trunkline.backend.encoder import NO_WISHES
from trunkline.backend.outbox import Outbox
from trunkline.v1 import model_pb2

HELLO_TIMEOUT_S = 5.0
CANCEL_PATIENCE_S = 5.0  # for handlers that clean up; the stream does not wait longer for them

Context = grpc.aio.ServicerContext[model_pb2.ToBackend, model_pb2.ToTransceiver]
log = logging.getLogger(__name__)


class Stream:
    """The calls of one transceiver process, from its Hello to the end of its stream."""

    def __init__(
        self, backend: Backend, context: Context, on_call_over: Callable[[], None]
    ) -> None:
        self._on_call_over = on_call_over
        self._backend = backend
        self._context = context
        self._outbox = Outbox()
        self._calls: dict[int, Call] = {}
        self._transceiver = ""
        # A call that ended still counts here until its handler has cleaned up.
        self._handlers: dict[Call, asyncio.Task[None]] = {}

    @property
    def calls(self) -> Collection[Call]:
        """Live calls."""
        return self._calls.values()

    @property
    def busy(self) -> bool:
        """Whether a call is live, or its handler still cleans up."""
        return bool(self._handlers)

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
        finally:
            writer.cancel()
            await self._end_all([writer])
            log.info("transceiver_gone", extra=peer)

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
        await self._context.write(self._backend.welcome())
        return first.hello

    def _take_in(self, events: Iterable[model_pb2.CallEvent]) -> None:
        calls = self._calls
        for event in events:
            call = calls.get(event.call)
            if event.HasField("started"):
                self._start(event.call, event.started)
            elif call is None:
                continue  # sent before the transceiver had heard that the call is over
            elif event.HasField("ended"):
                self._end(call)
            else:
                call.hear(event)

    def _start(self, number: int, started: model_pb2.CallStarted) -> None:
        reason = self._objection(number, started)
        if reason:
            self._outbox.add(number, len(reason)).refused.reason = reason
            return
        call = Call(
            number, started, self._outbox, on_hang_up=self._end, transceiver=self._transceiver
        )
        accepted = self._outbox.add(number).accepted
        accepted.SetInParent()
        if self._backend.encoder != NO_WISHES:
            accepted.encoder.CopyFrom(self._backend.encoder.message())
        self._calls[number] = call
        handler = asyncio.create_task(self._host(call), name=f"call {call.id}")
        self._handlers[call] = handler
        # Not left to `_host`: a task cancelled before its first step never enters its `finally`.
        handler.add_done_callback(lambda _: self._handler_done(call))

    def _objection(self, number: int, started: model_pb2.CallStarted) -> str:
        limit = self._backend.max_calls
        if number in self._calls:
            return "call number in use"
        if int(started.format) not in self._backend.accepts:
            return "audio format not accepted"
        if limit and len(self._handlers) >= limit:
            return f"at the limit of {limit} calls"
        return ""

    async def _host(self, call: Call) -> None:
        reason = "failed"
        try:
            await self._backend.handler(call)
            reason = "hangup"
        except Exception as error:
            if not _only_over(error):
                log.exception("handler_failed", extra={"call_id": call.id})
        finally:
            self._handlers.pop(call, None)
            call.hang_up(reason)

    def _handler_done(self, call: Call) -> None:
        self._handlers.pop(call, None)
        self._on_call_over()

    def _end(self, call: Call) -> None:
        self._calls.pop(call.number, None)
        call.end()
        handler = self._handlers.get(call)
        if handler is not None:
            handler.cancel()

    async def _end_all(self, tasks: list[asyncio.Task[None]]) -> None:
        for call in list(self._calls.values()):
            self._end(call)
        self._outbox.take()  # wakes who waits for room
        tasks += self._handlers.values()
        _, stubborn = await asyncio.wait(tasks, timeout=CANCEL_PATIENCE_S)
        if stubborn:
            log.warning("handlers_ignore_cancellation", extra={"handlers": len(stubborn)})

    async def _write(self) -> None:
        # A failed write ends the stream, which the reader sees as well.
        with contextlib.suppress(grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
            while True:
                await self._outbox.wait()
                for batch in self._outbox.take():
                    await self._context.write(batch)


def _only_over(error: Exception) -> bool:
    """Whether the call ended under the handler's hands, or under those of its task group."""
    if isinstance(error, ExceptionGroup):
        return all(map(_only_over, error.exceptions))
    return isinstance(error, CallOver)


async def _read(context: Context) -> model_pb2.ToBackend | None:
    message: object = await context.read()
    return message if isinstance(message, model_pb2.ToBackend) else None
