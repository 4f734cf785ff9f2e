"""Finds the most sessions that a server holds, by trials with fresh callers."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from loadtest.benchmark import Progress
from loadtest.callers.timed_socket import Key
from loadtest.errors import CallFailedError
from loadtest.media_bench.crowd import Crowd
from loadtest.media_bench.search import CapacitySearch
from loadtest.media_bench.trial import Trial

MAX_SPOILT = 3
"""Failed trials of a search that others may have spoilt, and that are run again for it."""


@dataclass
class Capacity:
    """The best trial that held and the smallest that did not, if there were such."""

    best: Trial | None = None
    failed: Trial | None = None

    @property
    def sessions(self) -> int:
        """How many sessions held."""
        return self.best.callers if self.best else 0

    @property
    def strangers(self) -> float:
        """What others took of the machine, percent of a core, where the answer was found."""
        return max((t.strangers for t in (self.best, self.failed) if t), default=0.0)

    def note(self, trial: Trial | None) -> None:
        """Keep the trial if it says more than what is known; what held has not failed."""
        if trial is None:
            return
        if trial.held and (self.best is None or trial.callers >= self.best.callers):
            self.best = trial
            if self.failed is not None and self.failed.callers <= trial.callers:
                self.failed = None
        if not trial.held and (self.failed is None or trial.callers <= self.failed.callers):
            self.failed = trial


class Climb(Generic[Key]):
    """Runs a search against one server. `seconds` is how long each trial is timed.

    A trial that failed while others took the machine is run again. No trial begins that would
    probably not end within `within_s` of the first; what is known by then is the answer.
    """

    def __init__(
        self,
        crowd: Crowd[Key],
        seconds: float,
        progress: Progress,
        name: str,
        engine: str,
        *,
        within_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._crowd = crowd
        self._seconds = seconds
        self._progress = progress
        self._name = name
        self._engine = engine
        self._within_s = within_s
        self._clock = clock
        self._longest_s = 0.0
        self._spoilt_trials = 0

    async def run(self, search: CapacitySearch) -> Capacity:
        """Try loads until the search is done, and tell each trial on stderr.

        Every trial has calls of its own: what one left queued in server and backend would be held
        against the next, and a codec that conceals the silence between two trials adds frames.
        """
        capacity = Capacity()
        ends_s = self._clock() + self._within_s
        while (load := search.next()) is not None and self._ends_by(ends_s):
            self._progress.stage(f"{self._name} {load}")
            started_s = self._clock()
            trial = await self._try(load)
            if trial is None or not self._spoilt(trial):
                search.note(load, held=trial is not None and trial.held)
                capacity.note(trial)
            await self._crowd.shrink_to(0)
            self._longest_s = max(self._longest_s, self._clock() - started_s)
        return capacity

    async def _try(self, load: int) -> Trial | None:
        """One trial; None when the calls could not even be placed."""
        try:
            await self._crowd.grow_to(load)
        except CallFailedError as error:
            self._tell(f"{load}: a call failed ({error.reason})")
            return None
        trial = await self._crowd.measure(load, self._seconds)
        self._tell(str(trial.described(self._engine)))
        return trial

    def _spoilt(self, trial: Trial) -> bool:
        """Whether a failure is to be forgotten because others may have caused it."""
        spoilt = not trial.held and trial.disturbed and self._spoilt_trials < MAX_SPOILT
        self._spoilt_trials += spoilt
        return spoilt

    def _ends_by(self, ends_s: float) -> bool:
        in_time = self._clock() + self._longest_s <= ends_s
        if not in_time:
            self._tell("out of time")
        return in_time

    def _tell(self, line: str) -> None:
        print(f"{self._name}: {line}", file=sys.stderr, flush=True)
