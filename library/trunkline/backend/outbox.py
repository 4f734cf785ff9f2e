"""What the handlers of one stream send, gathered into one message for each loop turn.

A gRPC message costs about 100 µs and an event inside one about 2. While a message is being written
the next one fills. The outbox itself has no bound: each call keeps its own share (`Call` waits
before it adds more), so a call that says much delays nobody else.
"""

from __future__ import annotations

import asyncio

from trunkline.v1 import model_pb2

BATCH_BYTES = 256 * 1024  # a message is closed beyond this; gRPC's limit is 4 MiB
LEAVING_BYTES = 2
EVENT_BYTES = 32  # what an event costs on the wire beyond its payload, rounded up


class Outbox:
    """Events in the messages they will travel in; `round` rises with each `take`."""

    def __init__(self) -> None:
        self.round = 0
        self._full: list[model_pb2.ToTransceiver] = []
        self._waker: asyncio.Future[None] | None = None
        self._taken: asyncio.Event | None = None
        self._snapshots: dict[int, bytes] = {}  # by call, the newest
        self._start_batch()

    def add(self, call: int, payload_bytes: int = 0) -> model_pb2.BackendEvent:
        """A new event of `call`, last in the batch, for the caller to fill in."""
        size_bytes = payload_bytes + EVENT_BYTES
        if self._batch_bytes + size_bytes > BATCH_BYTES:
            self._close_batch()
        self._batch_bytes += size_bytes
        if self._waker is not None:
            self._wake()
        event = self._append()
        event.call = call
        return event

    def remember(self, call: int, snapshot: bytes) -> None:
        """Send a snapshot of `call` at the end of the round, unless a newer one comes before it."""
        self._snapshots[call] = snapshot
        self._wake()

    def say_leaving(self) -> None:
        """Tell the transceiver, in the batch that fills now, that the backend is about to go."""
        self._batch.leaving = True
        self._batch_bytes += LEAVING_BYTES
        self._wake()

    async def wait(self) -> None:
        """Return in the tick after something was added; one wake-up for all of a tick."""
        while not self._batch_bytes and not self._snapshots:
            self._waker = asyncio.get_running_loop().create_future()
            await self._waker

    def take(self) -> list[model_pb2.ToTransceiver]:
        """What was added since the last `take`."""
        snapshots, self._snapshots = self._snapshots, {}
        for call, snapshot in snapshots.items():
            self.add(call, len(snapshot)).remember.snapshot = snapshot
        self._close_batch()
        batches, self._full = self._full, []
        self.round += 1
        self.nudge()
        return batches

    async def next_round(self) -> None:
        """Return once what waits now has been taken, or at a nudge."""
        if self._taken is None:
            self._taken = asyncio.Event()
        await self._taken.wait()

    def nudge(self) -> None:
        """Let everybody who waits for the next round look again: some may wait elsewhere now."""
        if self._taken is not None:
            self._taken.set()
            self._taken = None

    def _wake(self) -> None:
        waker, self._waker = self._waker, None
        if waker is not None and not waker.done():
            waker.set_result(None)

    def _start_batch(self) -> None:
        self._batch = model_pb2.ToTransceiver()
        self._batch_bytes = 0
        self._append = self._batch.events.add

    def _close_batch(self) -> None:
        if self._batch_bytes:
            self._full.append(self._batch)
            self._start_batch()
