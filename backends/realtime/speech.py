"""The words of an assistant, how much of them was sent, and which remain after a cut."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass
class Speech:
    """Words in pieces, each from a moment of the sound on.

    `queued_ms` of sound were made, `sent_ms` of it went on their way to the caller.
    """

    queued_ms: int = 0
    sent_ms: int = 0
    is_cut: bool = False
    pieces: list[tuple[str, int]] = field(default_factory=list)  # words, and where they start

    def say(self, text: str, start_ms: int | None = None) -> None:
        """More words; they start where the sound made so far ends, unless `start_ms` is known.

        What is said after a cut was never heard.
        """
        if self.is_cut:
            return
        earliest = self.pieces[-1][1] if self.pieces else 0
        start_ms = max(self.queued_ms, self.sent_ms) if start_ms is None else start_ms
        self.pieces.append((text, max(earliest, start_ms)))

    def expect(self, ms_per_char: float) -> None:
        """The last piece may not have been sent whole: it takes as long as it would at that rate.

        With a slow one a word is rather said twice than not at all.
        """
        if self.pieces:
            text, start_ms = self.pieces[-1]
            self.queued_ms = max(self.queued_ms, int(start_ms + len(text) * ms_per_char))

    @property
    def text(self) -> str:
        """All words."""
        return "".join(text for text, _ in self.pieces)

    def cut(self, heard_ms: int) -> str:
        """Keep what was said before `heard_ms`; the words that are left.

        Pieces that start at one moment are one stretch of sound, which is cut in proportion.
        """
        heard = "".join(_until(text, start, end, heard_ms) for text, start, end in self._spans())
        self.sent_ms = self.queued_ms = min(self.sent_ms, heard_ms)
        self.is_cut = True
        self.pieces = [(heard, 0)]
        return heard

    def _spans(self) -> list[tuple[str, int, int]]:
        starts: dict[int, str] = {}
        for text, start_ms in self.pieces:
            starts[start_ms] = starts.get(start_ms, "") + text
        ends = [*starts, max(self.queued_ms, self.sent_ms, *starts)] if starts else []
        return [(starts[start], start, end) for start, end in pairwise(ends)]


def _until(text: str, start_ms: int, end_ms: int, heard_ms: int) -> str:
    """The whole words of `text`, spoken evenly from `start_ms` to `end_ms`, before `heard_ms`."""
    if heard_ms >= end_ms:
        return text
    if heard_ms <= start_ms:
        return ""
    words = list(re.finditer(r"\S+", text))
    whole = len(words) * (heard_ms - start_ms) // (end_ms - start_ms)
    return text[: words[whole - 1].end()] if whole else ""
