"""When a caller's turn begins and ends. Pure: windows of sound, verdicts and time in, events out.

    QUIET ── voice for START_S ──▶ SPEAKING ── silence for probe_s ──▶ PAUSED
      ▲                              ▲  ◀── voice for RESUME_S ── PauseOver ──┘ │
      └───────────── TurnEnded ◀── silence as long as `patience` says ──────────┘

A pause is a probable end. It is announced early (PauseBegan), so that what was said can be written
down and answered while we still wait; what is made of it is kept at TurnEnded and thrown away at
PauseOver. How long we wait depends on how complete the turn seems (`verdict`): `Patience`.

All times are seconds of the caller's clock of arrival: a window is given with the time at which its
last packet came.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from backends.agent.models import WINDOW_S

START_S = 0.064  # of voice: two windows tell a word from a click
RESUME_S = 0.064
RELEASE = 0.15  # a voice that has begun goes on above the threshold less this (Silero's own rule)
CLOSE_S = 1e-6  # sums of windows are not exact


@dataclass(frozen=True)
class Patience:
    """How long a silence ends a turn, by how complete the turn seems.

    `at_least_s` for what is surely complete, `at_most_s` for what surely is not; between
    `sure` and `unsure` the wait grows evenly, on a logarithmic scale. Without a verdict it
    is `unjudged_s`. Equal numbers make the fixed silence of `server_vad`.
    """

    at_least_s: float = 0.25
    at_most_s: float = 2.0
    unjudged_s: float = 0.9
    sure: float = 0.95  # Smart Turn is nearly always below 0.1 or above 0.95
    unsure: float = 0.75

    @classmethod
    def fixed(cls, silence_s: float) -> Patience:
        """Always the same."""
        return cls(silence_s, silence_s, silence_s)

    def wait_s(self, probability: float | None) -> float:
        """The silence that ends the turn."""
        if probability is None:
            return self.unjudged_s
        share = (self.sure - probability) / (self.sure - self.unsure)
        share = min(1.0, max(0.0, share))
        ratio = self.at_most_s / max(self.at_least_s, CLOSE_S)
        return self.at_least_s * math.pow(ratio, share)


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """A turn begins; its first voiced window came at `at_s`."""

    at_s: float


@dataclass(frozen=True, slots=True)
class PauseBegan:
    """A probable end, pause `number` of the call; the voice was last heard at `voiced_s`."""

    number: int
    voiced_s: float


@dataclass(frozen=True, slots=True)
class PauseOver:
    """The caller went on: pause `number` was none."""

    number: int


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The turn is over by pause `number`; the voice was last heard at `voiced_s`."""

    number: int
    voiced_s: float


TurnEvent = SpeechBegan | PauseBegan | PauseOver | TurnEnded


class _State(Enum):
    QUIET = "quiet"
    SPEAKING = "speaking"
    PAUSED = "paused"


class TurnDetector:
    """One call's turns. `threshold` is the probability from which a window counts as voice."""

    def __init__(
        self, threshold: float = 0.5, patience: Patience | None = None, probe_s: float = 0.064
    ) -> None:
        self.threshold = threshold
        self.patience = patience or Patience()
        self._probe_s = probe_s
        self._state = _State.QUIET
        self._voice_s = 0.0  # of voice in a row, while we wait for a beginning
        self._silence_s = 0.0  # since the last voiced window
        self._first_s = 0.0
        self._voiced_s = 0.0
        self._heard_s = -math.inf  # when the newest window came
        self._number = 0
        self._verdict: float | None = None

    @property
    def speaking(self) -> bool:
        """Whether a turn is going on, pauses included."""
        return self._state is not _State.QUIET

    @property
    def voiced(self) -> bool:
        """Whether the caller is making a sound now."""
        return self._state is _State.SPEAKING

    def window(self, probability: float, at_s: float) -> list[TurnEvent]:
        """Take the next window, whose last packet came at `at_s`."""
        self._heard_s = at_s
        going_on = self._state is _State.SPEAKING
        if probability >= self.threshold - (RELEASE if going_on else 0.0):
            return self._voice(at_s)
        return self._silence(at_s)

    def verdict(self, number: int, probability: float) -> None:
        """Pause `number` looks like the end with this probability; the newest word counts."""
        if self._state is _State.PAUSED and number == self._number:
            self._verdict = probability

    def deadline_s(self) -> float | None:
        """When `poll` will end the turn if nothing is heard; None when no end is near."""
        if self._state is not _State.PAUSED:
            return None
        return self._voiced_s + self.patience.wait_s(self._verdict)

    def poll(self, now: float) -> list[TurnEvent]:
        """End the turn if its time has come."""
        deadline_s = self.deadline_s()
        if deadline_s is None or now + CLOSE_S < deadline_s:
            return []
        self._rest()
        return [TurnEnded(self._number, self._voiced_s)]

    def reset(self) -> None:
        """Forget the turn that is going on."""
        self._rest()

    def _voice(self, at_s: float) -> list[TurnEvent]:
        if not self._voice_s:
            self._first_s = at_s
        self._voice_s += WINDOW_S
        if self._state is _State.QUIET and self._voice_s >= START_S - CLOSE_S:
            self._speak(at_s)
            return [SpeechBegan(self._first_s)]
        if self._state is _State.PAUSED and self._voice_s >= RESUME_S - CLOSE_S:
            self._speak(at_s)
            return [PauseOver(self._number)]
        if self._state is _State.SPEAKING:
            self._speak(at_s)
        return []

    def _silence(self, at_s: float) -> list[TurnEvent]:
        self._voice_s = 0.0
        self._silence_s += WINDOW_S
        if self._state is _State.SPEAKING and self._silence_s >= self._probe_s - CLOSE_S:
            self._state = _State.PAUSED
            self._number += 1
            self._verdict = None
            return [PauseBegan(self._number, self._voiced_s)]
        return self.poll(at_s)

    def _speak(self, at_s: float) -> None:
        self._state = _State.SPEAKING
        self._silence_s = 0.0
        self._voiced_s = at_s

    def _rest(self) -> None:
        self._state = _State.QUIET
        self._voice_s = self._silence_s = 0.0
