"""Who is asked to go on with a call that lost its backend, and when it is given up. Pure.

    lost ─▶ the same backend, if it is there                        ─┐
         ─▶ PATIENCE_S later: another of its kind, too               ├─▶ taken
         ─▶ not taken: once more, after a pause, for a retry spent  ─┘
         ─▶ `within_s` are over ───────────────────────────────────────▶ given up

The same backend comes first because it may have restarted, and because the operator gave the call
to it. The first question of a loss is not a retry: the call was there before, so however many
calls a backend had, no other gets more questions than it had calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from fleet.backoff import Pace

PATIENCE_S = 0.3  # a Service in front of several Pods has led us to another by then
RECHECK_S = 0.25  # breakers open and close without a word
PACE = Pace(first_s=0.1, longest_s=2.0)
MOST_LOSSES = 5
LOSSES_S = 60.0

T = TypeVar("T")
Reason = Literal["too_many_losses", "no_backend", "no_retries"]


@dataclass(frozen=True)
class Ask(Generic[T]):
    """Ask this one now."""

    whom: T


@dataclass(frozen=True)
class Wait:
    """Nothing is to be done before `until_s`, unless a backend comes."""

    until_s: float


@dataclass(frozen=True)
class GiveUp:
    """Nobody will go on with the call."""

    reason: Reason


class Losses:
    """The backends that one call has lost."""

    def __init__(self) -> None:
        self.total = 0
        self._lately_s: deque[float] = deque(maxlen=MOST_LOSSES + 1)

    def note(self, now: float) -> None:
        """One more."""
        self.total += 1
        self._lately_s.append(now)

    @property
    def too_many(self) -> bool:
        """Whether there were more than MOST_LOSSES within LOSSES_S: what is wrong is the call."""
        lately_s = self._lately_s
        return len(lately_s) > MOST_LOSSES and lately_s[-1] - lately_s[0] < LOSSES_S


class Search(Generic[T]):
    """The search for one call, which lost its backend at `lost_s`.

    `spend` takes a retry from the budget of all calls, if there is one.
    """

    def __init__(self, lost_s: float, within_s: float, spend: Callable[[], bool]) -> None:
        self._lost_s = lost_s
        self.ends_s = lost_s + within_s
        self._spend = spend
        self._failures = 0  # of those that were asked
        self._poor = False  # a retry is wanted, and there is none to spend
        self._not_before_s = lost_s

    def next(self, now: float, same: T | None, others: list[T]) -> Ask[T] | Wait | GiveUp:
        """What to do; `same` is the backend that was lost, if it is there, `others` are like it."""
        if now >= self.ends_s:
            return GiveUp("no_retries" if self._poor else "no_backend")
        if now < self._not_before_s:
            return Wait(min(self._not_before_s, self.ends_s))
        patient = now < self._lost_s + PATIENCE_S
        whom = [one for one in (same, *(() if patient else others)) if one is not None]
        self._poor = bool(whom and self._failures) and not self._spend()
        if not whom or self._poor:
            return Wait(min(now + RECHECK_S, self.ends_s))
        return Ask(whom[0])

    def put_off(self, now: float) -> None:
        """Who was to be asked has no room after all, or is asked by another call: no question."""
        self._not_before_s = now + RECHECK_S

    def failed(self, now: float) -> None:
        """Who was asked did not take the call."""
        self._failures += 1
        self._not_before_s = now + PACE.wait_s(self._failures)
