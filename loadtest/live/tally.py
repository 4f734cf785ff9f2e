"""What happened to the calls of one generator in one second, and its form on the wire. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from loadtest.live.histogram import Histogram

COUNTS = (
    "placed",
    "refused",
    "without_retry_after",
    "ended",
    "lost_calls",
    "sent",
    "echoed",
    "duplicates",
    "rejected",
)


@dataclass
class Tally:
    """`second` counts from the start of the run.

    `live` is a level, the other numbers are counts of this second. `sent` are frames, `echoed`
    those of them that came back within the grace period; so `sent - echoed` were lost. `gap_ms` are
    the longest silences of each call between two frames it heard.
    """

    second: int
    live: int = 0
    placed: int = 0
    refused: int = 0
    without_retry_after: int = 0
    ended: int = 0
    lost_calls: int = 0
    sent: int = 0
    echoed: int = 0
    duplicates: int = 0
    rejected: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    setup_ms: Histogram = field(default_factory=Histogram)
    lateness_ms: Histogram = field(default_factory=Histogram)
    gap_ms: Histogram = field(default_factory=Histogram)
    send_lateness_ms: Histogram = field(default_factory=Histogram)
    barge_in_ms: Histogram = field(default_factory=Histogram)

    def merge(self, other: Tally) -> None:
        """Add what another generator saw in the same second."""
        self.live += other.live
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures.update(other.failures)
        for name in _HISTOGRAMS:
            getattr(self, name).merge(getattr(other, name))

    def to_line(self) -> str:
        """One line of JSON."""
        numbers = {name: getattr(self, name) for name in ("second", "live", *COUNTS)}
        times = {name: getattr(self, name).counts for name in _HISTOGRAMS}
        return json.dumps({**numbers, "failures": dict(self.failures), **times})

    @classmethod
    def from_line(cls, line: str) -> Tally:
        """Read what `to_line` wrote. Raises ValueError."""
        try:
            read = json.loads(line)
            times: dict[str, Any] = {
                name: Histogram({int(bin_): count for bin_, count in read.pop(name).items()})
                for name in _HISTOGRAMS
            }
            read["failures"] = Counter(read["failures"])
            return cls(**read, **times)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not a line of a generator") from error


_HISTOGRAMS = ("setup_ms", "lateness_ms", "gap_ms", "send_lateness_ms", "barge_in_ms")


def total(tallies: Iterable[Tally]) -> Tally:
    """All seconds as one; `live` is the most there were at once."""
    whole = Tally(-1)
    most = 0
    for tally in tallies:
        whole.merge(tally)
        most = max(most, tally.live)
    whole.live = most
    return whole
