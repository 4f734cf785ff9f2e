"""Times without a packet of the caller, and what its own numbers say about them. Pure.

    numbers are missing                          → LOST: the network took packets
    none is missing, its time went on as ours    → NOT_SENT: there was nothing to send
    none is missing, its time stood still        → DELAYED: the network held packets up

Whoever wants to know asks now and then (`take`); the path of a packet only compares two times.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from transceiver.rtp.opus import CLOCK_HZ

GAP_S = 0.06
# DTX sends every 400 ms (RFC 7587 §3.1.3), and a caller may be silent: shorter ones mean nothing.
NOT_SENT_GAP_S = 1.0
MAX_KEPT = 8  # until they are taken; of more the longest stay


class GapKind(Enum):
    """Why there was no packet."""

    LOST = "lost"
    DELAYED = "delayed"
    NOT_SENT = "not_sent"


class Gap(NamedTuple):
    """One that is over: when, by the clock of `now`, how long, and why."""

    until_s: float
    length_s: float
    kind: GapKind


class Gaps:
    """Those of one stream. `last_s` is when the last packet came."""

    __slots__ = ("_kept", "last_s", "longest_s")

    def __init__(self) -> None:
        self.last_s = 0.0
        self.longest_s = 0.0  # since `take`
        self._kept: list[Gap] = []

    def note(self, now: float, ahead: int, change: int) -> None:
        """A packet after more than GAP_S: `ahead` numbers on, its transit `change` ticks longer."""
        length_s = now - self.last_s
        self.longest_s = max(self.longest_s, length_s)
        kind = _kind(length_s, ahead, change)
        if kind is GapKind.NOT_SENT and length_s < NOT_SENT_GAP_S:
            return
        self._kept.append(Gap(now, length_s, kind))
        if len(self._kept) > MAX_KEPT:
            self._kept.remove(min(self._kept, key=lambda gap: gap.length_s))

    def take(self) -> list[Gap]:
        """Those since the last time, in order."""
        kept, self._kept = self._kept, []
        return kept

    def take_longest_s(self) -> float:
        """The longest gap since the last time; 0 when none was longer than GAP_S."""
        longest_s, self.longest_s = self.longest_s, 0.0
        return longest_s


def _kind(length_s: float, ahead: int, change: int) -> GapKind:
    if ahead != 1:
        return GapKind.LOST
    went_on = abs(change) < length_s * CLOCK_HZ / 2
    return GapKind.NOT_SENT if went_on else GapKind.DELAYED
