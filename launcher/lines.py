"""Turns bytes from a pipe into whole printable lines."""

from __future__ import annotations

import re

MAX_LINE_BYTES = 4096
"""Longer lines are cut: one part must not flood the log that all share."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


class LineSplitter:
    """Cuts a byte stream into lines of at most `max_bytes`; memory stays below `max_bytes` + input.

    What a line has beyond the bound is thrown away up to its newline, and the line ends in `…`.
    """

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = b""
        self._cut = False

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that `data` completes, printable and without their newline."""
        *whole, rest = data.split(b"\n")
        lines = []
        for piece in whole:
            self._append(piece)
            lines.append(self._take())
        self._append(rest)
        return lines

    def flush(self) -> list[str]:
        """Return what is left at the end of the stream: no line, or one without a newline."""
        return [self._take()] if self._rest else []

    def _append(self, piece: bytes) -> None:
        room = self._max_bytes - len(self._rest)
        self._cut = self._cut or len(piece) > room
        self._rest += piece[:room]

    def _take(self) -> str:
        line = printable(self._rest.decode("utf-8", "replace")) + ("…" if self._cut else "")
        self._rest, self._cut = b"", False
        return line


def printable(text: str) -> str:
    """Drop colour escapes and control characters, so that no part can repaint the terminal."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text)).rstrip()
