"""The most sessions a server holds: trials of fresh callers until the answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

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

    async def run(
        self, search: CapacitySearch, tell: Callable[[str], None] | None = None
    ) -> Capacity:
        """Try loads until the search is done. Raises CallFailedError when calls cannot be placed.

        After a trial that failed all calls are placed anew: what it left queued in server and
        backend would be held against the next one.
        """
        capacity = Capacity()
        while (load := search.next()) is not None:
            self._progress.stage(f"{self._name} {load}")
            await self._crowd.grow_to(load)
            trial = await self._crowd.measure(load, self._seconds)
            if tell is not None:
                tell(f"{self._name}: {trial.described(self._engine)}")
            capacity.note(trial)
            search.note(load, held=trial.held)
            if not trial.held:
                await self._crowd.shrink_to(0)
        await self._crowd.shrink_to(0)
        return capacity
