"""How long packets stay in a worker: a histogram over powers of two, one sample a batch.

A sample is the time from the return of the receive call to the return of the send call, so it
holds routing and sending of a whole batch, and not what a packet waited in the kernel before
(the queue overflow counters tell when that was too long). Bucket b counts samples below 2^b µs.
"""

from __future__ import annotations

from collections.abc import Iterator

BUCKETS = 24  # the last one: 8 s and longer, when something is very wrong
_NS_PER_US = 1000


class Latency:
    """One histogram over `WORDS` 64-bit words: the buckets, then the sum in µs."""

    WORDS = BUCKETS + 1

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def add(self, elapsed_ns: int) -> None:
        """Count one sample. Costs no allocation that stays and no array operation."""
        us = elapsed_ns // _NS_PER_US
        self._words[min(us.bit_length(), BUCKETS - 1)] += 1
        self._words[BUCKETS] += us

    @property
    def sum_s(self) -> float:
        """All samples together, in seconds."""
        return float(self._words[BUCKETS]) / 1e6

    def counts(self) -> list[int]:
        """Samples in each bucket (not cumulative)."""
        return self._words[:BUCKETS].tolist()

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Upper bound in seconds as Prometheus writes it, and how many samples are below it."""
        below = 0
        for exponent, count in enumerate(self.counts()):
            below += count
            yield ("+Inf" if exponent == BUCKETS - 1 else f"{2**exponent / 1e6:.6f}"), below
