"""How many lines of one kind the log takes: a bucket of tokens for each event name.

A fault that comes with every packet, or a stranger who provokes a warning, must not be what the log
is full of, nor what the process is busy with. What is left out is counted, and said with the next
line of its kind.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

LINES_PER_S = 100.0  # above what the calls of a process have to say
LINES_AT_ONCE = 500.0
TRACEBACK_LINES = 10  # what a line with a traceback counts
MAX_KINDS = 512  # names are ours; libraries' loggers may be many


@dataclass(slots=True)
class _Bucket:
    lines: float
    at_s: float
    suppressed: int = 0


class LogRate:
    """`suppressed` counts all lines that were left out."""

    def __init__(
        self,
        per_s: float = LINES_PER_S,
        at_once: float = LINES_AT_ONCE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_s = per_s
        self._at_once = at_once
        self._now = now
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self.suppressed = 0

    def take(self, kind: str, *, traceback: bool = False) -> int | None:
        """How many lines of this kind were left out before this one; None: so is this one."""
        bucket = self._bucket(kind)
        cost = TRACEBACK_LINES if traceback else 1
        if bucket.lines < cost:
            bucket.suppressed += 1
            self.suppressed += 1
            return None
        bucket.lines -= cost
        before, bucket.suppressed = bucket.suppressed, 0
        return before

    def _bucket(self, kind: str) -> _Bucket:
        now_s = self._now()
        bucket = self._buckets.pop(kind, None) or _Bucket(self._at_once, now_s)
        self._buckets[kind] = bucket  # used last, forgotten last
        if len(self._buckets) > MAX_KINDS:
            self._buckets.popitem(last=False)
        gained = (now_s - bucket.at_s) * self._per_s
        bucket.lines, bucket.at_s = min(self._at_once, bucket.lines + gained), now_s
        return bucket
