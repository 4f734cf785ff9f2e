"""The one log: every line has the name of the part that wrote it."""

from __future__ import annotations

import os
from collections import deque
from typing import TextIO

KEPT_LINES = 2000
NAME_WIDTH = 11
SUPERVISOR = "launcher"
_COLOURS = {"redis": 31, "backend": 35, "relay": 36, "transceiver": 32, SUPERVISOR: 33}


class Log:
    """Writes `name │ line` to a stream, whole lines only, and keeps the last `kept_lines`.

    With `stream=None` nothing is written; the kept lines are still there for a report. A stream
    whose reader went away is not written to again: a log must never take the service with it.
    """

    def __init__(self, stream: TextIO | None, kept_lines: int = KEPT_LINES) -> None:
        self._stream = stream
        self._coloured = stream is not None and _wants_colour(stream)
        self.lines: deque[str] = deque(maxlen=kept_lines)

    def write(self, name: str, line: str) -> None:
        """Add one line of the part `name`; `line` has no newline."""
        self.lines.append(f"{name:<{NAME_WIDTH}} │ {line}")
        if self._stream is None:
            return
        try:
            self._stream.write(self._painted(name, line) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def say(self, line: str) -> None:
        """Add one line of the supervisor's own."""
        self.write(SUPERVISOR, line)

    def _painted(self, name: str, line: str) -> str:
        label = f"{name:<{NAME_WIDTH}} │"
        return (
            f"\x1b[{_COLOURS.get(name, 37)}m{label}\x1b[0m {line}"
            if self._coloured
            else (f"{label} {line}")
        )


def _wants_colour(stream: TextIO) -> bool:
    """Follow https://no-color.org: any non-empty NO_COLOR turns colour off."""
    return stream.isatty() and not os.environ.get("NO_COLOR")
