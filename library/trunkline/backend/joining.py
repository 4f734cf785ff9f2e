"""A call that is about to be resumed, while what its old stream still has to say is on its way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from trunkline.v1 import model_pb2

PATIENCE_S = 0.5  # with the old stream; then the call goes on without the rest
MAX_EVENTS = 2048  # of the new stream, which wait meanwhile
MAX_BYTES = 1024 * 1024

log = logging.getLogger(__name__)


class Joining:
    """Calls `on_done` once: when told that it is `done`, at a bound, or after PATIENCE_S.

    `events` of the new stream wait in it; `sent_events` is how many the old one is to have said.
    """

    def __init__(self, sent_events: int, on_done: Callable[[], None]) -> None:
        self.sent_events = sent_events
        self.events: list[model_pb2.CallEvent] = []
        self._on_done = on_done
        self._bytes = 0
        self._over = False
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._lose_patience)

    def put(self, event: model_pb2.CallEvent) -> None:
        """Keep an event of the new stream."""
        self.events.append(event)
        self._bytes += event.ByteSize()
        if len(self.events) >= MAX_EVENTS or self._bytes >= MAX_BYTES:
            self._lose_patience()

    def done(self) -> None:
        """The old stream has said all it will."""
        if not self._over:
            self.cancel()
            self._on_done()

    def cancel(self) -> None:
        """The new stream is gone."""
        self._over = True
        self._timer.cancel()

    def _lose_patience(self) -> None:
        log.warning("old_stream_incomplete", extra={"expected_events": self.sent_events})
        self.done()
