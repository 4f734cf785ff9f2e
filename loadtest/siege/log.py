"""The logs of all processes, counted as they come."""

from __future__ import annotations

import io

TRACEBACK = "Traceback (most recent call last)"
KEPT = 20


class CountedLog(io.StringIO):
    """For `launcher.log.Log`: counts lines and tracebacks, and keeps the first of these alone."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0
        self.tracebacks = 0
        self.found: list[str] = []

    def write(self, text: str) -> int:
        """Take a line, or some."""
        self.lines += text.count("\n")
        if TRACEBACK in text:
            self.tracebacks += text.count(TRACEBACK)
            self.found = [*self.found, text][:KEPT]
        return len(text)
