"""One stream to a backend, from its greeting to its end, and the calls on it.

greet ─▶ carrying calls ── the backend ends it, or breaks ──────────────▶ its calls are lost
             └── retired ── no new calls; the last one is over ──▶ ended in peace
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Sequence

import grpc
import grpc.aio
import structlog

from transceiver.link.call_handle import CallHandle, CallSink
from transceiver.link.carrier import Link
from transceiver.link.errors import BackendAbsent, CallLimit, CallUnknown
from transceiver.link.outbox import Outbox
from transceiver.link.position import NOWHERE, Position
from trunkline.v1 import model_pb2

PROTOCOL = 1
MAX_INSTANCE_CHARS = 64
GREETING_TIMEOUT_S = 5.0  # from dialling to the backend's Welcome
# Between two messages. Under load this makes messages fewer and larger, at 0.5 ms of delay in the
# mean; what is said after a pause goes at once. A backend answers batch by batch, so its messages
# become fewer as well.
MESSAGE_INTERVAL_S = 0.001

EVENTS_A_TURN = 256
"""Delivered before the loop goes on with others' work: a message may hold many thousand."""

Rpc = grpc.aio.StreamStreamCall[model_pb2.ToBackend, model_pb2.ToTransceiver]

log = structlog.get_logger(__name__)


class LinkDown(Exception):  # noqa: N818
    """Why a stream ended, fit for a log; stays between here and `model_link`."""


async def greet(rpc: Rpc, transceiver: str) -> model_pb2.Welcome:
    """Exchange greetings. Raises LinkDown and AioRpcError."""
    hello = model_pb2.Hello(protocol=PROTOCOL, transceiver=transceiver)
    try:
        async with asyncio.timeout(GREETING_TIMEOUT_S):
            await rpc.write(model_pb2.ToBackend(hello=hello))
            first = await rpc.read()
    except TimeoutError:
        raise LinkDown("the backend did not greet back in time") from None
    if not isinstance(first, model_pb2.ToTransceiver) or not first.HasField("welcome"):
        raise LinkDown("the backend did not begin with a Welcome")
    if first.welcome.protocol != PROTOCOL:
        theirs = first.welcome.protocol
        raise LinkDown(f"the backend speaks protocol {theirs}, this process {PROTOCOL}")
    return first.welcome


class LinkStream:
    """A stream that was greeted; `on_leaving` hears that its backend is about to go."""

    def __init__(
        self, link: Link, rpc: Rpc, welcome: model_pb2.Welcome, on_leaving: Callable[[], None]
    ) -> None:
        self.link = link
        self.outbox = Outbox()
        self.max_calls = welcome.max_calls  # 0: the backend has no limit of its own
        self.hold_ms = welcome.hold_ms  # 0: the backend holds no call whose stream broke
        self.instance = welcome.instance[:MAX_INSTANCE_CHARS]
        self._rpc = rpc
        self._on_leaving = on_leaving
        self._calls: dict[int, CallHandle] = {}
        self._retired = False

    @property
    def calls(self) -> int:
        """Calls open on it."""
        return len(self._calls)

    @property
    def over(self) -> bool:
        """Whether it has nothing left to carry."""
        return self._retired and not self._calls

    def add_call(
        self, number: int, call_id: str, sink: CallSink, resume: Position | None = None
    ) -> CallHandle:
        """A handle for a call that is to be announced next; `resume`: it has its place there.

        Raises BackendAbsent, CallLimit and CallUnknown.
        """
        if self.outbox.full:
            raise BackendAbsent("no backend: it has stopped reading")
        if resume is not None and not (self.hold_ms and resume.resumable):
            raise CallUnknown("it holds no calls of others")
        if not resume and self.max_calls and len(self._calls) >= self.max_calls:
            raise CallLimit(f"the backend holds {self.max_calls} calls, its limit")
        position = resume or (Position.first(self.instance) if self.hold_ms else NOWHERE)
        handle = self._calls[number] = CallHandle(self, number, call_id, sink, position)
        return handle

    def forget(self, number: int) -> None:
        """The call's handle is done with the stream."""
        self._calls.pop(number, None)
        self._end_if_over()

    def retire(self) -> None:
        """Carry no new calls, and end after the last one."""
        self._retired = True
        self._end_if_over()

    async def carry(self) -> None:
        """Carry calls until the stream is over. Raises LinkDown and AioRpcError when it is lost."""
        writer = asyncio.create_task(self._write(), name="model-link-writer")
        try:
            while isinstance(batch := await self._rpc.read(), model_pb2.ToTransceiver):
                await self._deliver_in_turns(batch.events)
                if batch.leaving:
                    self._on_leaving()
            if not self.over:
                raise LinkDown("the backend ended the stream")
        finally:
            writer.cancel()
            await asyncio.wait([writer])

    def lose(self) -> None:
        """The stream is gone: tell the calls that were on it."""
        if not self.over:
            self.link.counters.link_losses += 1
        lost, self._calls = self._calls, {}
        for handle in lost.values():
            handle.lose()

    def _end_if_over(self) -> None:
        if self.over:
            self.outbox.finish()

    async def _deliver_in_turns(self, events: Sequence[model_pb2.BackendEvent]) -> None:
        """Nearly always one turn: a backend's message has an event or two of each call."""
        for start in range(0, len(events), EVENTS_A_TURN):
            if start:
                await asyncio.sleep(0)
            self._deliver(events[start : start + EVENTS_A_TURN])

    def _deliver(self, events: Iterable[model_pb2.BackendEvent]) -> None:
        calls = self._calls
        for event in events:
            handle = calls.get(event.call)
            if handle is None:
                self.link.counters.link_late_events += 1
            else:
                handle.deliver(event)

    async def _write(self) -> None:
        # A failed write ends the stream, and the reader says why.
        try:
            await self._write_rounds()
        except Exception:
            log.exception("link_writer_failed")
            self._rpc.cancel()

    async def _write_rounds(self) -> None:
        loop, outbox, taken_s = asyncio.get_running_loop(), self.outbox, -math.inf
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while await outbox.wait():
                await asyncio.sleep(MESSAGE_INTERVAL_S - (loop.time() - taken_s))
                taken_s = loop.time()
                for batch, size_bytes in outbox.take():
                    await self._rpc.write(batch)
                    outbox.written(size_bytes)
            await self._rpc.done_writing()
