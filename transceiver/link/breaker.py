"""A circuit breaker: a backend that does not answer is left alone for a while. Pure.

    closed ── most of the last answers are missing ──▶ open ── its time is over ──▶ half-open
      ▲                                                  ▲                            │   │
      │                                                  └──── the probe failed ──────┘   │
      └──────────────────────────────── the probe was answered ───────────────────────────┘

Half-open lets one call through. The pause doubles with every failed probe. A refusal is an answer:
one caller's bad session must not close a backend to all others.

Libraries for this wrap a function and keep their own clock; here the choice of a backend and the
news of how it went are two moments, and time is the caller's.
"""

from __future__ import annotations

import math

COUNTED_S = 10.0  # what happened longer ago says nothing
ENOUGH_FAILURES = 5
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
SUSPECT_S = 1.0  # after a failure others are asked first


class Breaker:
    """`now` is in seconds of one clock, whichever."""

    def __init__(self) -> None:
        self._answered = self._missing = 0
        self._counted_since_s = -math.inf
        self._failed_at_s = -math.inf
        self._pause_s = 0.0  # 0: closed
        self._ask_again_s = -math.inf

    @property
    def open(self) -> bool:
        """Whether it has opened and no probe was answered since."""
        return self._pause_s > 0

    def allows(self, now: float) -> bool:
        """Whether a call may be tried."""
        return now >= self._ask_again_s

    def suspect(self, now: float) -> bool:
        """Whether an answer was missing a moment ago."""
        return now - self._failed_at_s < SUSPECT_S

    def asked(self, now: float) -> None:
        """A call is tried; while half-open nobody else is until its outcome, or a pause."""
        if self.open:
            self._ask_again_s = now + self._pause_s

    def succeeded(self, now: float) -> None:
        """It answered, with yes or no."""
        self._count_from(now)
        self._answered += 1
        if self.open:
            self._pause_s, self._ask_again_s = 0.0, -math.inf
            self._answered = self._missing = 0

    def failed(self, now: float) -> None:
        """It did not answer."""
        self._count_from(now)
        self._missing += 1
        self._failed_at_s = now
        if self.open:
            self._open(now, min(LONGEST_PAUSE_S, self._pause_s * 2))
        elif self._missing >= max(ENOUGH_FAILURES, self._answered):
            self._open(now, FIRST_PAUSE_S)

    def _open(self, now: float, pause_s: float) -> None:
        self._pause_s = pause_s
        self._ask_again_s = now + pause_s

    def _count_from(self, now: float) -> None:
        if now - self._counted_since_s > COUNTED_S:
            self._answered = self._missing = 0
            self._counted_since_s = now
