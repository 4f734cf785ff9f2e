"""Whether a source speaks in real time, from when its frames come.

A frame's transit is its arrival less the sound that came before it. What a live source sends keeps
to a line; what is held up on the way comes above it and falls back; who speaks faster than real
time, as a model that reads an answer does, falls below it at once and stays there:

    transit  ──────╮   ╷                     ╷
     live          │   │╲ late               │   answer of a model
                   ╰───┘ ╲────── line        │╲
                    stall                    │ ╲
                                             │  ╲──── lead: its queue is meant

So only a source that has kept to its line for `LIVE_AFTER_S` is live, and it stays live through a
stall: what comes back to the line, or ends above it because sound was lost, was late. Whatever
falls below the line by `LEAD_S` was sent ahead, and nothing of that talkspurt is ever hurried. What
is sent at one go and followed by nothing proves nothing, and is left alone.

The line follows the least transit slowly, so that no clock drifts off it.

A source whose very first frames were held up looks like one that sends ahead: it falls, and goes on
in real time. No answer goes on for `PERHAPS_AFTER_S` without a pause, so it is perhaps live then;
but it is not certain before its queue has run empty, and until then no word of it may be lost.
"""

from __future__ import annotations

import math

WINDOW_S = 0.1  # of sound; its least transit is free of most jitter
STEADY_FALL_S = 0.02  # between two windows: faster than real time beyond it
STEADY_RISE_S = 0.06
CONFIRMED = 2  # steady windows in a row: real time again
LIVE_AFTER_S = 2.0  # of sound that keeps to the line
NEAR_LINE_S = 0.05  # below the line: a first frame that was late
BREAK_S = 0.15  # between two windows: a pause, unless the source is known to be live
PERHAPS_AFTER_S = 20.0  # of sound in real time, whatever came before it
LEAD_S = 0.2  # below the line: more is sent by a source that speaks faster than real time
FORGOTTEN_AFTER_S = 5.0  # a pause so long is no stall: as much as may be queued
FOLLOW_DOWN = 0.02  # of the time: more than any clock drifts
FOLLOW_UP = 0.01  # of the way, a window


class LiveSource:
    """Notes frames as they come, and looks at them window by window. Pure; times are seconds.

    Of transits and times only the differences matter.
    """

    __slots__ = (
        "_ahead",
        "_ahead_at_s",
        "_ahead_from_s",
        "_kept_s",
        "_least_before_s",
        "_least_s",
        "_line_s",
        "_media_s",
        "_steady",
        "_turn_at_s",
        "certain",
        "early_s",
        "least_wait_s",
    )

    def __init__(self) -> None:
        self.early_s = 0.0  # how far the last window was below the line, never negative
        self.least_wait_s = math.inf  # of the frames of this window
        self.certain = True  # that what is late of it is late
        self._media_s = 0.0  # of all frames
        self._least_s = math.inf
        self._turn_at_s = 0.0
        self._line_s = self._least_before_s = math.inf
        self._kept_s = 0.0
        self._steady = 0  # windows in a row
        self._ahead = False
        self._ahead_at_s = self._ahead_from_s = 0.0  # its transit, and how much sound was before it

    @property
    def live(self) -> bool:
        """Whether it has spoken in real time for long enough."""
        return self._kept_s >= LIVE_AFTER_S

    def note(self, now: float, duration_s: float, wait_s: float) -> bool:
        """A frame has come that would wait so long; whether it ends a window: `turn` then."""
        transit_s = now - self._media_s
        if transit_s < self._least_s:  # noqa: PLR1730 - for each frame, and min() costs thrice this
            self._least_s = transit_s
        if wait_s < self.least_wait_s:  # noqa: PLR1730
            self.least_wait_s = wait_s
        self._media_s = media_s = self._media_s + duration_s
        return media_s >= self._turn_at_s

    def turn(self) -> bool:
        """Begin another window; whether the one that ends was in real time, and of a live source.

        `early_s` is of the window that ends; `least_wait_s` must have been read before.
        """
        least_s = self._least_s
        moved_s = least_s - self._least_before_s
        steady = -STEADY_FALL_S <= moved_s <= STEADY_RISE_S
        self._steady = self._steady + 1 if steady else 0
        self._least_before_s = least_s
        self._open_window(WINDOW_S)
        if self._line_s == math.inf or (moved_s > BREAK_S and not self.live):
            self._line_s, self._kept_s = least_s, 0.0  # it has to show itself anew
        self.early_s = max(0.0, self._line_s - least_s)
        if self.early_s > LEAD_S:
            self._ahead, self._kept_s = True, 0.0
        if self._ahead:
            self._watch(least_s)
        else:
            self._keep(least_s, steady=steady)
        return self._steady >= CONFIRMED and self.live

    def empty(self) -> None:
        """What was queued of it has left: what waits from now on was held up."""
        self.certain = True

    def pause(self, pause_s: float) -> None:
        """Nothing came for so long and all that had come has left: a stall if it is live."""
        if not self.live or pause_s > FORGOTTEN_AFTER_S:
            self.forget()

    def forget(self) -> None:
        """Something else begins: its first frame, a window by itself, is where the line starts."""
        self._line_s = self._least_before_s = math.inf
        self._kept_s = 0.0
        self._ahead = False
        self.certain = True
        self._steady = 0
        self._open_window(0.0)

    def _open_window(self, length_s: float) -> None:
        self._least_s = self.least_wait_s = math.inf
        self._turn_at_s = self._media_s + length_s

    def _watch(self, least_s: float) -> None:
        """Whether a source that was ahead stays as far ahead as it is, for long."""
        if abs(least_s - self._ahead_at_s) > LEAD_S:
            self._ahead_at_s, self._ahead_from_s = least_s, self._media_s
        elif self._media_s - self._ahead_from_s >= PERHAPS_AFTER_S:
            self._ahead = self.certain = False
            self._line_s, self._kept_s, self.early_s = least_s, LIVE_AFTER_S, 0.0

    def _keep(self, least_s: float, *, steady: bool) -> None:
        if least_s > self._line_s - NEAR_LINE_S:
            self._kept_s += WINDOW_S
        if least_s > self._line_s:
            self._line_s += (least_s - self._line_s) * FOLLOW_UP * steady
        else:
            self._line_s = max(least_s, self._line_s - WINDOW_S * FOLLOW_DOWN)
