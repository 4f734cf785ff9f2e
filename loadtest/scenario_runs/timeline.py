"""What all generators and processes reported, second by second. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from loadtest.live.tally import Tally


@dataclass(frozen=True)
class Usage:
    """What all processes of one kind took in one second; percent of a core."""

    cpu_percent: float
    rss_mib: float


@dataclass
class Moment:
    """One second of the run."""

    tally: Tally
    usage: Mapping[str, Usage] = field(default_factory=dict)
    """By kind: relay, transceiver, backend, redis, sentinel, callers."""


class Timeline:
    """Adds up the tallies of `processes` generators; at most one moment for each second."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._moments: dict[int, Moment] = {}
        self._heard: dict[int, int] = {}

    def add(self, tally: Tally) -> Moment | None:
        """Take one generator's second; returns the moment once all have told theirs."""
        second = tally.second
        self._moment(second).tally.merge(tally)
        self._heard[second] = self._heard.get(second, 0) + 1
        return self._moments[second] if self._heard[second] == self._processes else None

    def note_usage(self, second: int, usage: Mapping[str, Usage]) -> None:
        """What the processes took in a second."""
        self._moment(second).usage = usage

    @property
    def moments(self) -> list[Moment]:
        """All seconds that some generator told of, in order."""
        return [self._moments[second] for second in sorted(self._heard)]

    def _moment(self, second: int) -> Moment:
        return self._moments.setdefault(second, Moment(Tally(second)))
