"""A backend that is asked to go on with a call, and has not said yes."""

from __future__ import annotations

from collections.abc import Callable

from trunkline.v1 import model_pb2


class Newcomer:
    """Its `transceiver.link.call_handle.CallSink`, until it takes the call (`on_taken`).

    What else it says before that breaks the protocol and is not heard. That it is lost, or hangs
    up, is learned by whoever waits for its answer.
    """

    def __init__(self, on_taken: Callable[[], None], on_fault: Callable[[Exception], None]) -> None:
        self._on_taken = on_taken
        self._on_fault = on_fault

    def on_accepted(self) -> None:
        """It takes the call."""
        self._on_taken()

    def on_fault(self, error: Exception) -> None:
        """Taking the call raised."""
        self._on_fault(error)

    def on_remember(self, snapshot: bytes) -> None:
        """Too early."""

    def on_resumed(self, ear: model_pb2.Playout) -> None:
        """Too early."""

    def on_encoder(self, encoder: model_pb2.OpusEncoder) -> None:
        """Too early."""

    def on_audio(self, payload: bytes, duration: int) -> None:
        """Too early."""

    def on_data(self, label: str, content: str | bytes) -> None:
        """Too early."""

    def on_clear(self) -> None:
        """Too early."""

    def on_hang_up(self, reason: str) -> None:
        """It does not take the call."""

    def on_backend_lost(self) -> None:
        """It does not take the call."""
