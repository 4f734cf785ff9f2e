"""Says CLAIMED when it is true for the whole relay, and not a moment before.

A claim is carried out here at once, and by each other worker at the beginning of its next turn
(`relay.worker.claims`). But a worker that is in the middle of a turn has packets in its hands that
it admitted or routed before: it may still send one of them. So the answer waits until each turn
that was under way has ended. What it then says is that no packet of a fenced owner leaves this
relay any more, and that none of these calls goes to anybody but the owner.

A turn lasts some milliseconds. A worker that stands still in one is ended by its supervisor after
two seconds (`fleet.liveness`) and cannot send then; after three the answer waits for it no longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from datagram.mmsg import U64, SendBatch
from relay.shared.claims import Turns, is_at_work
from relay.shared.counters import Counter, Counts
from relay.worker.siblings import Siblings
from relay.worker.trunk_writer import TrunkWriter
from wire.trunk import SLOT_BYTES, FrameType

MAX_WAITING = 1024  # datagrams; a claim whose answer is lost comes again
WAIT_MS = 3000

Frames = Sequence[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """One datagram of CLAIMED frames that waits until it is true."""

    frames: Frames
    name: U64  # where to, as four words
    turns: list[tuple[Turns, int]]  # that must end before, and their numbers
    since_ms: int

    def is_true(self, now_ms: int) -> bool:
        """Whether every turn that was under way is over, or waited for long enough."""
        over = all(turns.current != number for turns, number in self.turns)
        return over or now_ms - self.since_ms >= WAIT_MS


class Answers:
    """Answers that wait, in order; `len` is how many datagrams. `outgoing` has room for one."""

    def __init__(self, siblings: Siblings, writer: TrunkWriter, counts: Counts) -> None:
        self.outgoing = SendBatch(1, parts=1)
        self._room = np.zeros(SLOT_BYTES, np.uint8)
        self._siblings = siblings
        self._writer = writer
        self._counts = counts
        self._waiting: deque[Answer] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, frames: Frames, name: U64, now_ms: int) -> None:
        """Answer these claims, which were carried out just now, to that socket name."""
        if len(self._waiting) >= MAX_WAITING:
            return
        turns = [(s.turns, number) for s in self._siblings if is_at_work(number := s.turns.current)]
        self._waiting.append(Answer(frames, name, turns, now_ms))

    def lay_out(self, now_ms: int, unix_s: int) -> int:
        """One datagram that may be sent, or none; call again until it returns 0."""
        if not self._waiting or not self._waiting[0].is_true(now_ms):
            return 0
        answer = self._waiting.popleft()
        datagram = self._writer.control(FrameType.CLAIMED, answer.frames, unix_s)
        self._room[: len(datagram)] = np.frombuffer(datagram, np.uint8)
        self.outgoing.names[0] = answer.name
        self.outgoing.part_bases[0] = self._room.ctypes.data
        self.outgoing.part_lengths[0] = len(datagram)
        self._counts[Counter.CLAIMS_ANSWERED] += len(answer.frames)
        return 1
