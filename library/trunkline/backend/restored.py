"""What is left of a conversation whose backend is lost: its snapshot, and where the ear was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from trunkline.backend.events import Playout
from trunkline.v1 import model_pb2

MAX_SNAPSHOT_BYTES = 256 * 1024


@dataclass(frozen=True)
class Restored:
    """A call that another backend had.

    `snapshot` is the newest that it remembered (b"" for none), `playout` how far the caller's ear
    was in frames of that backend: those `queued` are still played. `losses` counts the backends
    that the call has lost, `gap_ms` is how long it was without one.
    """

    snapshot: bytes = field(repr=False)
    playout: Playout = field(default_factory=Playout)
    losses: int = 1
    gap_ms: int = 0

    @classmethod
    def of(cls, started: model_pb2.CallStarted) -> Self | None:
        """As a call's first event says; None for a call that is new."""
        if not started.HasField("restored"):
            return None
        told = started.restored
        return cls(told.snapshot, Playout.of(told.playout), told.losses, told.gap_ms)


def check_snapshot(snapshot: bytes) -> None:
    """Raise ValueError for one that is too large to be kept."""
    if len(snapshot) > MAX_SNAPSHOT_BYTES:
        raise ValueError(f"a snapshot has {len(snapshot)} bytes, more than {MAX_SNAPSHOT_BYTES}")
