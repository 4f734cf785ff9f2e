"""How late echoed frames are. Pure.

An echo should leave one fixed transit after its frame was sent, on the grid of its caller:

    scheduled_i            the caller's ideal grid, 20 ms apart
    sent_i ≥ scheduled_i   when the frame really left: a generator that is late is not the engine's
                           fault
    seen_i                 when the kernel received its echo
    due_i = max(scheduled_i + min_j(seen_j - scheduled_j), sent_i + min_j(seen_j - sent_j))
    lateness_i = seen_i - due_i ≥ 0

The minima are over one caller's frames of one measurement, so what is the same for all frames of a
caller (a jitter buffer, the phase of a pacing wheel) is no lateness: it is delay.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]


def lateness_s(scheduled_s: Times, sent_s: Times, seen_s: Times) -> Times:
    """Lateness of each frame of one caller; the arrays go by frame. Empty in, empty out."""
    if not len(seen_s):
        return seen_s
    on_grid_s = scheduled_s + (seen_s - scheduled_s).min()
    after_send_s = sent_s + (seen_s - sent_s).min()
    late: Times = seen_s - np.maximum(on_grid_s, after_send_s)
    return late


@dataclass
class Measured:
    """Frames of all callers of one measurement; times in seconds."""

    lateness_s: list[Times] = field(default_factory=list)
    transit_s: list[Times] = field(default_factory=list)
    lost: int = 0
    foreign: int = 0
    """Echoes sampled that were not authentic."""

    def add(self, scheduled_s: Times, sent_s: Times, seen_s: Times) -> None:
        """Add one caller's frames."""
        self.lateness_s.append(lateness_s(scheduled_s, sent_s, seen_s))
        self.transit_s.append(seen_s - sent_s)

    @property
    def frames(self) -> int:
        """How many frames were timed."""
        return sum(len(part) for part in self.lateness_s)

    def lateness_ms(self, percent: float) -> float:
        """A percentile over all frames of all callers; infinite when nothing came back."""
        return percentile_ms(self.lateness_s, percent)

    def transit_ms(self, percent: float) -> float:
        """The same of the time from send to sight."""
        return percentile_ms(self.transit_s, percent)


def percentile_ms(parts: list[Times], percent: float) -> float:
    """Percentile of seconds as ms; infinite without any."""
    joined = np.concatenate(parts) if parts else np.zeros(0)
    if not len(joined):
        return float("inf")
    return round(1000 * float(np.percentile(joined, percent, method="higher")), 3)
