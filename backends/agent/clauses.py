"""Cuts a model's words into pieces that can be spoken one by one.

A clause that is spoken as a whole sounds like one, but the caller waits for the first. So the first
pieces are short. They end at a comma or, without one, after as many words as WORDS says. All but
the first, which cannot wait, end at a word that can stand last (not at `the` or `of`). Each piece
is longer than the one before, because the next is made while it is heard. With a model that takes
20 ms for a token and a voice that takes a tenth of the sound's length, three words (1 s) last until
seven are made, and those until fourteen are made. Later pieces end where a sentence ends.
"""

from __future__ import annotations

import re

WORDS = (3, 7, 14)  # of the first pieces, at least
LEANING_WORDS = 3  # how many more a piece may take to end well
MAX_CHARS = 220  # a sentence without an end is cut here
_SENTENCE_END = re.compile(r"[.!?…]+[\"')\]]*\s+|\n+")
_CLAUSE_END = re.compile(r"[,;:—]\s+|[.!?…]+[\"')\]]*\s+|\n+")
_ABBREVIATION = re.compile(r"(?:^|\s)(?:Mr|Mrs|Ms|Dr|St|Prof|vs|e\.g|i\.e|[A-Z])\.\s*$")
_LEANING = re.compile(
    r"(?:an?|the|my|your|his|her|its|our|their|of|to|in|on|at|for|with|and|or|but|is|are|i'm)\s",
    re.IGNORECASE,
)
_SPEAKABLE = re.compile(r"\w")


class ClauseChunker:
    """Feed deltas, take clauses. Joined together the clauses are the text, spaces included."""

    def __init__(self, words: tuple[int, ...] = WORDS, max_chars: int = MAX_CHARS) -> None:
        self._words = list(words)
        self._max_chars = max_chars
        self._text = ""

    def feed(self, delta: str) -> list[str]:
        """The clauses that these words complete."""
        self._text += delta
        clauses = []
        while end := self._end():
            clauses.append(self._take(end))
        return clauses

    def rest(self) -> list[str]:
        """What is left when the answer is complete."""
        return [self._take(len(self._text))] if self._text.strip() else []

    def _end(self) -> int:
        """Where the next clause ends; 0 while it does not."""
        pattern = _CLAUSE_END if self._words else _SENTENCE_END
        for found in pattern.finditer(self._text):
            piece = self._text[: found.end()]
            if _SPEAKABLE.search(piece) and not _ABBREVIATION.search(piece):
                return found.end()
        return self._after_words(self._words[0]) if self._words else self._before_limit()

    def _after_words(self, least: int) -> int:
        words = list(re.finditer(r"\S+\s+", self._text))
        for count, word in enumerate(words, 1):
            spare = LEANING_WORDS if len(self._words) < len(WORDS) else 0  # the first cannot wait
            leans = _LEANING.match(word[0]) and count < least + spare
            if count >= least and not leans:
                return word.end()
        return 0

    def _before_limit(self) -> int:
        if len(self._text) < self._max_chars:
            return 0
        return self._text.rfind(" ", 0, self._max_chars) + 1 or self._max_chars

    def _take(self, end: int) -> str:
        clause, self._text = self._text[:end], self._text[end:]
        del self._words[:1]
        return clause
