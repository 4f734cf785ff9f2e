"""What a backend says to a call while the call is between two owners.

The old owner has written the call down, so what comes now is the new owner's: the backend says it
there again. If the move comes to nothing, the old owner takes it in after all, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from trunkline.v1 import model_pb2

MAX_EVENTS = 1024  # a second has 50 frames, and a burst the credit of 250


class HeldEvents:
    """Keeps events; a `transceiver.link.call_handle.CallSink`. `overflow` hears of one too many,
    which is kept as well: whoever hears it stops the holding."""

    def __init__(self, overflow: Callable[[], None]) -> None:
        self._overflow = overflow
        self._events: deque[tuple[str, tuple[object, ...]]] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def replay(self, sink: object) -> None:
        """Let the sink have them, in order."""
        while self._events:
            name, arguments = self._events.popleft()
            getattr(sink, name)(*arguments)

    def on_accepted(self) -> None:
        """As of a sink."""
        self._keep("on_accepted")

    def on_remember(self, snapshot: bytes) -> None:
        """As of a sink."""
        self._keep("on_remember", snapshot)

    def on_encoder(self, encoder: model_pb2.OpusEncoder) -> None:
        """As of a sink."""
        self._keep("on_encoder", encoder)

    def on_resumed(self, ear: model_pb2.Playout) -> None:
        """As of a sink."""
        self._keep("on_resumed", ear)

    def on_audio(self, payload: bytes, duration: int) -> None:
        """As of a sink."""
        self._keep("on_audio", payload, duration)

    def on_data(self, label: str, content: str | bytes) -> None:
        """As of a sink."""
        self._keep("on_data", label, content)

    def on_clear(self) -> None:
        """As of a sink."""
        self._keep("on_clear")

    def on_hang_up(self, reason: str) -> None:
        """As of a sink."""
        self._keep("on_hang_up", reason)

    def on_backend_lost(self) -> None:
        """As of a sink."""
        self._keep("on_backend_lost")

    def on_fault(self, error: Exception) -> None:
        """As of a sink."""
        self._keep("on_fault", error)

    def _keep(self, name: str, *arguments: object) -> None:
        self._events.append((name, arguments))
        if len(self._events) == MAX_EVENTS:
            self._overflow()
