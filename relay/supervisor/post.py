"""One worker slot of a relay: what stays when its worker is replaced."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field

from fleet.backoff import Backoff, Pace
from fleet.liveness import HUNG_AFTER_MS, Pulse
from relay.shared.memory import Table, WorkerMemory
from relay.shared.voice import WatchOrder
from relay.supervisor.process import Process

STEADY_S = 1.0
"""A worker that lived this long is replaced at once: the spare is running."""
RESTART_PACE = Pace(first_s=0.1, longest_s=5.0, spread=False)  # of one slot; others go on


@dataclass
class Post:
    """Sockets and memory of one worker, and the process that has them now."""

    number: int
    cpu: int
    public: socket.socket
    trunk: socket.socket
    memory_fd: int
    memory: WorkerMemory
    process: Process | None = None
    restarts: int = 0
    backoff: Backoff = field(default_factory=lambda: Backoff(RESTART_PACE, STEADY_S))
    assigned_s: float = field(default_factory=time.monotonic)
    watches: tuple[WatchOrder, ...] = ()  # flows of this post that somebody asks about
    pulse: Pulse = field(default_factory=Pulse)

    def hangs(self, now_ms: int) -> bool:
        """Whether its worker had time and did nothing with it; asked at every look."""
        usage = self.process.usage() if self.process else None
        return usage is not None and self.pulse.hangs(self.memory.beat_ms, usage, now_ms)

    def is_settled(self, now_s: float) -> bool:
        """Whether its worker has had time to begin."""
        return (now_s - self.assigned_s) * 1000 > 2 * HUNG_AFTER_MS

    @property
    def table(self) -> Table:
        """What others need to read this post's flows."""
        return Table(self.memory_fd, self.memory.flows.capacity)
