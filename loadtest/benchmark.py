"""What a benchmark is, what it gets, and what it returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from loadtest.target import Target


@dataclass(frozen=True)
class Limits:
    """The bounds of a run: calls in all, calls at once, seconds for the calls."""

    calls: int
    concurrency: int
    seconds: float


class Progress(Protocol):
    """Is told how the run goes."""

    def stage(self, text: str) -> None:
        """Name what is being done now."""

    def call_done(self, ok: bool) -> None:
        """Count one more call."""


@dataclass(frozen=True)
class Check:
    """One thing that had to hold; `detail` says what was seen."""

    name: str
    passed: bool
    detail: str


@dataclass
class Result:
    """Figures by name, failed calls by reason, and the checks that decide.

    Figures are numbers, None, or mappings of those, so that they can be printed and written as
    JSON alike.
    """

    figures: dict[str, object] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether there was a check and all of them held."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def as_json(self, scenario: str) -> dict[str, object]:
        """Return the one object that `--json` prints."""
        checks: Mapping[str, bool] = {check.name: check.passed for check in self.checks}
        return {
            "scenario": scenario,
            "passed": self.passed,
            **self.figures,
            "failures": dict(self.failures),
            "checks": checks,
        }


Run = Callable[[Target, Limits, Progress], Awaitable[Result]]


@dataclass(frozen=True)
class Scenario:
    """A named run with its default bounds; `max_calls` is what one client machine can carry."""

    name: str
    summary: str
    run: Run
    defaults: Limits
    max_calls: int
    variables: Mapping[str, str] = field(default_factory=dict)
    """Settings of the stack, when the run starts its own."""
