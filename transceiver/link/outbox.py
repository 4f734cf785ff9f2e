"""Events that a model link has not written yet, already in the messages that carry them.

A gRPC message costs a Python process about 100 µs, and an event inside one costs about 2 µs. So all
that the calls send while the last message is being written leaves together.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from trunkline.v1 import model_pb2

BATCH_BYTES = 256 * 1024  # a batch is closed beyond this, far below model_link.MAX_MESSAGE_BYTES
MAX_WAITING_BYTES = 16 * 1024 * 1024  # about three seconds of a thousand calls
EVENT_BYTES = 32  # what an event costs on the wire beyond its payload, rounded up


class Reporter(Protocol):
    """Has something to say that merges while it waits; hashed by identity."""

    def write_reports(self) -> None:
        """Append it now."""

    def fail(self, error: Exception) -> None:
        """It could not. Never raises."""


class Outbox:
    """Events that wait for the stream, already in the messages they will travel in.

    `round` rises with each `take`, so that a call knows that what it counted before is gone.
    `waiting_bytes` includes what was taken and not yet reported as `written`.
    """

    def __init__(self) -> None:
        self.round = 0
        self.waiting_bytes = 0
        self._reporters: dict[Reporter, None] = {}
        self._waker: asyncio.Future[None] | None = None
        self._closed: list[tuple[model_pb2.ToBackend, int]] = []
        self._finished = False
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

    def ask_for_reports(self, reporter: Reporter) -> None:
        """Call `reporter.write_reports` once, when the round is taken."""
        self._reporters[reporter] = None
        if self._waker is not None:
            self._wake()

    def take(self) -> list[tuple[model_pb2.ToBackend, int]]:
        """The round's messages with their sizes in bytes; the next round begins empty."""
        reporters, self._reporters = self._reporters, {}
        for reporter in reporters:
            try:
                reporter.write_reports()
            except Exception as error:
                reporter.fail(error)
        self._close_batch()
        batches, self._closed = self._closed, []
        self.round += 1
        return batches

    def written(self, size_bytes: int) -> None:
        """A message of this size has left the process."""
        self.waiting_bytes -= size_bytes

    def finish(self) -> None:
        """Nothing more will be added."""
        self._finished = True
        self._wake()

    async def wait(self) -> bool:
        """Return in the tick after something was added; one wake-up for all of a tick.

        False when there is nothing, and nothing will be.
        """
        while not self and not self._finished:
            self._waker = asyncio.get_running_loop().create_future()
            await self._waker
        return bool(self)

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
