"""The most sessions a server holds: trials of fresh callers until the answer is known."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Generic

from loadtest.errors import CallFailedError
from loadtest.media_bench.crowd import Crowd
from loadtest.media_bench.links import Key
from loadtest.media_bench.search import CapacitySearch
from loadtest.media_bench.trial import Trial
from loadtest.scenario import Progress


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

    def note(self, trial: Trial) -> None:
        """Keep the trial if it says more than what is known."""
        if trial.held and (self.best is None or trial.callers >= self.best.callers):
            self.best = trial
        if not trial.held and (self.failed is None or trial.callers <= self.failed.callers):
            self.failed = trial


class Climb(Generic[Key]):
    """Runs a search against one server. `seconds` is how long each trial is timed."""

    def __init__(
        self, crowd: Crowd[Key], seconds: float, progress: Progress, name: str, engine: str
    ) -> None:
        self._crowd = crowd
        self._seconds = seconds
        self._progress = progress
        self._name = name
        self._engine = engine

    async def run(self, search: CapacitySearch) -> Capacity:
        """Try loads until the search is done, and tell each trial on stderr.

        Every trial has calls of its own: what one left queued in server and backend would be held
        against the next, and a codec that conceals the silence between two trials adds frames.
        """
        capacity = Capacity()
        while (load := search.next()) is not None:
            self._progress.stage(f"{self._name} {load}")
            trial = await self._try(load)
            if trial is not None:
                capacity.note(trial)
                self._tell(str(trial.described(self._engine)))
            search.note(load, held=trial is not None and trial.held)
            await self._crowd.shrink_to(0)
        return capacity

    async def _try(self, load: int) -> Trial | None:
        """One trial; None when the calls could not even be placed."""
        try:
            await self._crowd.grow_to(load)
        except CallFailedError as error:
            self._tell(f"{load}: a call failed ({error.reason})")
            return None
        return await self._crowd.measure(load, self._seconds)

    def _tell(self, line: str) -> None:
        print(f"{self._name}: {line}", file=sys.stderr, flush=True)
