"""How long to wait for a missing packet, from how late packets come.

Theory of operation. Each packet has a transit: its arrival less its timestamp. The quickest transit
of the last seconds stands for the path without jitter; what a packet takes beyond it is its
lateness. Lateness is counted in a histogram that forgets, and the target is what all but
`TOO_LATE` of the packets keep:

    clean path      every packet in the first bin → target = one bin, 5 ms
    30 ms jitter    lateness spread over 0–30 ms  → target ≈ 30 ms
    a burst         a few packets far out         → the target rises, and is forgotten in seconds

Adding to the histogram is two additions: instead of making every older count lighter, each new
one is heavier, and all are scaled down once a few thousand packets. The target is only computed
when somebody waits.
"""

from __future__ import annotations

from collections import deque

BIN_S = 0.005
BINS = 24
MAX_TARGET_S = BIN_S * BINS  # 120 ms: beyond it, what is late is lost
TOO_LATE = 0.02  # of the packets: each costs one concealed frame, as a loss does
MEMORY_PACKETS = 250  # 5 s of 20 ms packets
_GROWTH = 1 + 1 / MEMORY_PACKETS
_HEAVIEST = 1e6
# The quickest transit is that of the last 2 to 4 s, so that a drifting clock or another route
# is followed.
_BUCKET_S = 2.0


class DelayTarget:
    """Lateness of one stream. Transits and times are seconds; only their differences matter."""

    def __init__(self) -> None:
        self._bins = [0.0] * BINS
        self._total = 0.0
        self._weight = 1.0
        self._buckets: deque[float] = deque(maxlen=2)
        self._bucket_ends_s = float("-inf")
        self.quickest_s = float("inf")

    def note(self, transit_s: float, now: float) -> None:
        """Count a packet."""
        if now >= self._bucket_ends_s:
            self._turn(transit_s, now)
        elif transit_s < self._buckets[-1]:
            self._buckets[-1] = transit_s
        self.quickest_s = min(self.quickest_s, transit_s)
        index = int((transit_s - self.quickest_s) / BIN_S)
        self._bins[min(index, BINS - 1)] += self._weight
        self._total += self._weight
        self._weight *= _GROWTH
        if self._weight > _HEAVIEST:
            self._scale_down()

    def target_s(self) -> float:
        """How long after its time a packet may still come."""
        may_be_late = self._total * TOO_LATE
        for index in range(BINS - 1, 0, -1):
            may_be_late -= self._bins[index]
            if may_be_late < 0:
                return (index + 1) * BIN_S
        return BIN_S

    def _turn(self, transit_s: float, now: float) -> None:
        self._bucket_ends_s = now + _BUCKET_S
        self._buckets.append(transit_s)
        self.quickest_s = min(self._buckets)

    def _scale_down(self) -> None:
        self._bins = [count / _HEAVIEST for count in self._bins]
        self._total /= _HEAVIEST
        self._weight /= _HEAVIEST
