"""From the caller's sound to turns: the ear, the meter, the turn detector, the clock.

    packets ─▶ Ear ─▶ VoiceMeter ─▶ TurnDetector ─▶ on_turn
                                        └─ deadline ─▶ timer ─┘

A turn that ends by silence ends on the clock, for a caller who has stopped may send nothing more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from backends.agent.ear import Ear
from backends.agent.listening import detector, prefix_s
from backends.agent.models import VoiceActivity
from backends.agent.turns import TurnEvent
from backends.realtime import TurnDetection


class Listener:
    """One call's. `on_turn` hears of turns as `detection` makes them; None makes none."""

    def __init__(
        self,
        voice: VoiceActivity,
        detection: TurnDetection | None,
        on_turn: Callable[[TurnEvent], None],
    ) -> None:
        self.ear = Ear(prefix_s(detection))
        self.detection = detection
        self._meter = voice.meter()
        self._turns = detector(detection)
        self._on_turn = on_turn
        self._timer: asyncio.TimerHandle | None = None

    @property
    def voiced(self) -> bool:
        """Whether the caller is making a sound now; never, without turn detection."""
        return self._turns is not None and self._turns.voiced

    def hear(self, pcm: bytes, now: float) -> None:
        """A packet came at `now`."""
        windows = self.ear.feed(pcm, now)
        if self._turns is None:
            return
        for window in windows:
            voice = self._meter.probability(window.pcm)
            self._tell(self._turns.window(voice, window.at_s))
        self._set_timer()

    def verdict(self, number: int, likely: float) -> None:
        """Pause `number` is the end of the turn with this probability."""
        if self._turns is not None:
            self._turns.verdict(number, likely)
            self._set_timer()

    def detect(self, detection: TurnDetection | None) -> None:
        """Make turns in another way, from now on."""
        self.detection = detection
        self.ear.prefix_s = prefix_s(detection)
        self._turns = detector(detection)
        self._set_timer()

    def reset(self) -> None:
        """The turn that is going on is none, or has been ended by somebody else."""
        if self._turns is not None:
            self._turns.reset()
            self._set_timer()

    def close(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, events: list[TurnEvent]) -> None:
        for event in events:
            self._on_turn(event)

    def _set_timer(self) -> None:
        self.close()
        deadline_s = self._turns.deadline_s() if self._turns is not None else None
        if deadline_s is not None:
            delay_s = max(0.0, deadline_s - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        if self._turns is not None:
            self._tell(self._turns.poll(time.monotonic()))
            self._set_timer()
