"""The time of answers by layer. Whole microseconds, so that the parts are the whole. Pure.

the caller's last sound ─ latency ─ end of turn ─ model ─ first sound ─ latency ─ out, and transport
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from records.money.call_use import Answer

_LONGEST_MS = 1e9


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """Of all answers together, in µs. `unexplained` is of answers whose stages are not recorded.

    The parts of `whole` are `transport`, `latency`, `model` and `unexplained`; the record adds
    none, since it is written beside the path. `silence` of moves is outside of answers.
    """

    answers: int = 0
    transport: int = 0
    latency: int = 0
    model: int = 0
    unexplained: int = 0
    whole: int = 0
    silence: int = 0

    def plus(self, other: TimeSpent) -> TimeSpent:
        """Both together."""
        return TimeSpent(
            self.answers + other.answers,
            self.transport + other.transport,
            self.latency + other.latency,
            self.model + other.model,
            self.unexplained + other.unexplained,
            self.whole + other.whole,
            self.silence + other.silence,
        )


def time_spent(answers: Iterable[Answer], gaps_ms: Iterable[float]) -> TimeSpent:
    """Of one call."""
    spent = TimeSpent(silence=sum(map(_us, gaps_ms)))
    for answer in answers:
        spent = spent.plus(_of_answer(answer))
    return spent


def _of_answer(answer: Answer) -> TimeSpent:
    out, network = _us(answer.out_ms), _us(answer.network_ms)
    whole = out + network
    if answer.ended_ms is None or answer.first_sound_ms is None:
        return TimeSpent(1, transport=network, unexplained=out, whole=whole)
    # An answer that was begun ahead has its first sound before the end of the turn was sure: then
    # the model cost the caller no time.
    ended = min(_us(answer.ended_ms), out)
    sound = min(max(_us(answer.first_sound_ms), ended), out)
    latency = ended + (out - sound)
    return TimeSpent(1, transport=network, latency=latency, model=sound - ended, whole=whole)


def _us(ms: float | None) -> int:
    if ms is None or not math.isfinite(ms):
        return 0
    return round(min(max(ms, 0.0), _LONGEST_MS) * 1000)
