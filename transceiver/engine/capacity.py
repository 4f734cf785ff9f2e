"""Learns how many calls this process can carry, from its lateness and its CPU. Pure.

Nobody can know this beforehand: it depends on the machine, its other tenants, the codec and the
backend. So every half second is judged by two figures. Lateness is what callers hear of an
overload, whatever its cause. The share of a core shows an overload before it comes.

    late or busy, twice in a row     the bound falls below the calls that are there
    otherwise                        it rises again, by a twentieth each time
    a call's share of the core       known once there are some: the bound never exceeds what fits;
                                     not learned while many begin, which costs more than to talk

The bound stays within `floor` and `ceiling`, so that a machine which is only noisy still takes some
calls, and one that seems to have no end keeps to what the operator allowed.
"""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE_INTERVAL_S = 0.5
LATE_S = 0.020  # a frame: from here on callers hear it
BUSY = 0.9  # of a core; beyond this a loop's lateness rises steeply
TARGET_BUSY = 0.8
FLOOR_CALLS = 20
FALL = 0.9
RISE = 1.05
# Before that the share of one call is mostly the share of having started.
ENOUGH_CALLS = 20
ENOUGH_BUSY = 0.2
# To begin costs a call as much as a second of talking. A fresh process that was given 100 calls at
# once would take that for their share and refuse the next for seconds.
MOST_BEGUN = 0.1  # of the calls
_SMOOTHING = 0.1  # five seconds' worth


@dataclass(frozen=True, slots=True)
class LoadSample:
    """Half a second of a process: live calls, how late its loop was (nine of ten times less), the
    share of a core its loop took, 0 to 1, and how many calls began."""

    calls: int
    lateness_s: float
    busy: float
    begun: int = 0


class Capacity:
    """The learned bound, in calls; begins at the ceiling. Raises ValueError for one below 1."""

    def __init__(self, ceiling: int, floor: int = FLOOR_CALLS) -> None:
        if ceiling < 1:
            raise ValueError("a process takes at least one call")
        self._ceiling = ceiling
        self._floor = min(floor, ceiling)
        self._bound = float(ceiling)
        self._busy_per_call = 0.0
        self._strained = 0

    @property
    def calls(self) -> int:
        """How many calls may be live."""
        return int(max(self._floor, min(self._bound, self._fitting())))

    def learn(self, sample: LoadSample) -> int:
        """Take in a sample; returns `calls` from now on."""
        self._learn_share(sample)
        if sample.lateness_s < LATE_S and sample.busy < BUSY:
            self._strained = 0
            self._bound = min(float(self._ceiling), self._bound * RISE)
            return self.calls
        self._strained += 1
        if self._strained > 1:  # once is a hiccup
            self._bound = max(float(self._floor), min(self._bound, sample.calls) * FALL)
        return self.calls

    def _learn_share(self, sample: LoadSample) -> None:
        if sample.calls < ENOUGH_CALLS or sample.busy < ENOUGH_BUSY:
            return
        if sample.begun > sample.calls * MOST_BEGUN:
            return
        share = sample.busy / sample.calls
        known = self._busy_per_call or share
        self._busy_per_call = known + (share - known) * _SMOOTHING

    def _fitting(self) -> float:
        """How many calls of the usual share fit a core."""
        return TARGET_BUSY / self._busy_per_call if self._busy_per_call else float(self._ceiling)
