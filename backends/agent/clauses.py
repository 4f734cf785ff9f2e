"""Words as they come from a model, cut into pieces that can be spoken by themselves.

A voice needs a clause to sound like one, and the caller waits for the first: so the first piece may
end at a comma or, when none comes, after `first_words` at a word that does not lean on the
next (`the`, `of`); later ones, for which there is time, end where a sentence does.
"""

from __future__ import annotations

import re

FIRST_WORDS = 3  # spoken in a second, in which the next clause is ready
MOST_FIRST_WORDS = 6
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

    def __init__(self, first_words: int = FIRST_WORDS, max_chars: int = MAX_CHARS) -> None:
        self._first_words = first_words
        self._max_chars = max_chars
        self._text = ""
        self._first = True

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
        pattern = _CLAUSE_END if self._first else _SENTENCE_END
        for found in pattern.finditer(self._text):
            piece = self._text[: found.end()]
            if _SPEAKABLE.search(piece) and not _ABBREVIATION.search(piece):
                return found.end()
        if self._first:
            return self._after_words()
        return self._before_limit()

    def _after_words(self) -> int:
        words = list(re.finditer(r"\S+\s+", self._text))
        for count, word in enumerate(words, 1):
            leans = _LEANING.match(word[0]) and count < MOST_FIRST_WORDS
            if count >= self._first_words and not leans:
                return word.end()
        return 0

    def _before_limit(self) -> int:
        if len(self._text) < self._max_chars:
            return 0
        return self._text.rfind(" ", 0, self._max_chars) + 1 or self._max_chars

    def _take(self, end: int) -> str:
        clause, self._text = self._text[:end], self._text[end:]
        self._first = False
        return clause
