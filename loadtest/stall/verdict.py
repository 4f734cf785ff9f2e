"""From recordings and stops to figures and checks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtest.benchmark import Check, Result
from loadtest.clicks import clicks
from loadtest.stall.backends import RECITE
from loadtest.stall.listener import Listener
from loadtest.stall.measure import Recording
from loadtest.stall.stops import AFTER_S, Stopped

BAR_MS = 60.0
BEFORE_S = (1.0, 2.0, 3.0)
"""Where to look for the delay before a stop: a busy machine may stand still by itself just then."""


@dataclass(frozen=True)
class Delay:
    """Of one call around one stop, in milliseconds; None where no speech was recognised."""

    stop: str
    call: str
    before_ms: float | None
    after_ms: float | None

    @property
    def added_ms(self) -> float | None:
        """What the stop has left behind."""
        if self.before_ms is None or self.after_ms is None:
            return None
        return self.after_ms - self.before_ms


def judge(
    listeners: Sequence[Listener], stops: Sequence[Stopped], recited: Mapping[str, int]
) -> Result:
    """All figures. `recited`: frames that were sent ahead, by call id."""
    recordings = [(one, Recording(one.heard)) for one in listeners]
    live = [(one, recording) for one, recording in recordings if one.manner != RECITE]
    ahead = [(one, recording) for one, recording in recordings if one.manner == RECITE]
    delays = [delay_around(stop, one.name, rec) for stop in stops for one, rec in live]
    added = [delay.added_ms for delay in delays if delay.added_ms is not None]
    unknown = len(delays) - len(added)
    clicked = sum(clicks(recording.sound) for _, recording in recordings)
    left_out = sum(recited.get(one.call_id, 0) - recording.sent for one, recording in ahead)
    lost = sum(recording.sent - len(recording.numbers) for _, recording in ahead)
    worst = max(added, default=None)
    return Result(
        figures={
            "max_delay_after_ms": None if worst is None else round(worst, 1),
            "delay_before_ms": _by_call(delays),
            "delay_after_ms": _by_stop(delays),
            "clicks": clicked,
            "ahead_frames": sum(recited.values()),
            "ahead_left_out": left_out,
            "ahead_lost_on_the_way": lost,
            "not_recognised": unknown,
        },
        checks=[
            Check(
                "on time two seconds after",
                worst is not None and worst <= BAR_MS,
                f"{worst or 0:.0f} ms over the delay before, bar {BAR_MS:.0f}",
            ),
            Check("every delay measured", not unknown and bool(delays), f"{unknown} not"),
            Check("no click", not clicked, f"{clicked} ms"),
            Check(
                "what is sent ahead is whole",
                bool(ahead) and not left_out,
                f"{left_out} of {sum(recited.values())} frames left out",
            ),
        ],
    )


def delay_around(stopped: Stopped, call: str, recording: Recording) -> Delay:
    """Before the stop, and two seconds after it."""
    looks = (recording.delay_s(stopped.began_s - before_s) for before_s in BEFORE_S)
    before_s = next((delay_s for delay_s in looks if delay_s is not None), None)
    after_s = recording.delay_s(stopped.ended_s + AFTER_S)
    return Delay(stopped.stop.name, call, _ms(before_s), _ms(after_s))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _by_stop(delays: Sequence[Delay]) -> dict[str, float | None]:
    """What each stop has left behind in the worst call."""
    names = dict.fromkeys(delay.stop for delay in delays)
    return {name: _worst([d.added_ms for d in delays if d.stop == name]) for name in names}


def _by_call(delays: Sequence[Delay]) -> dict[str, float | None]:
    names = dict.fromkeys(delay.call for delay in delays)
    return {name: _worst([d.before_ms for d in delays if d.call == name]) for name in names}


def _worst(found: Sequence[float | None]) -> float | None:
    known = [one for one in found if one is not None]
    return round(max(known), 1) if known else None
