"""Judges by its words whether a turn is complete. Pure.

A transcript that ends in `and` or `the` is not complete, whatever the melody was. One that ends in
a question mark mostly is. Words tell nothing about the melody and are often wrong in the middle of
a turn. So they only move a verdict, except for endings after which nobody stops.
"""

from __future__ import annotations

import re

WITHOUT_MELODY = 0.6  # the verdict on words that say nothing, where no model hears the melody
OPEN = 0.05  # nobody stops here
# Nobody stops after these; after the second kind only who trails off, whose transcript has no end.
_NEVER_LAST = re.compile(
    r"\b(?:a|an|the|my|your|his|its|our|their|and|or|but|because|than|um|uh|er|hmm)[.,-]*$", re.I
)
_RARELY_LAST = re.compile(
    r"\b(?:so|if|when|while|that|which|who|whose|as|of|to|for|from|with|without|at|by|into|onto|about"
    r"|is|are|was|were|am|be|been|have|has|will|would|can|could|should|might|must|well|like|i|we)$",
    re.I,
)
# A subordinate clause that has no main clause yet: "When you have time," and nothing after it.
_OPENER = re.compile(r"^(?:if|when|while|because|although|since|after|before|unless|once)\b", re.I)
# A verb without what it needs, and openings that promise more.
_UNFINISHED = re.compile(
    r"^(?!what|who|how|why|where|when).*\b(?:tell|show|give|told|remind|ask|asked|think|thought|wonder"
    r"|want|need|mean)(?: (?:me|you|us|him|her|them))?(?: (?:that|to|too|if))?[.?!]*$",
    re.I,
)
_OPENING = re.compile(
    r"^(?:well|so|and|but|you know|i mean|to be honest|the thing is|by the way|in fact|for example)"
    r"[.,!?]*$",
    re.I,
)
_WORD = re.compile(r"[\w']+")
_HESITATION = re.compile(r"(?:,|-|—|\.\.\.|…)$")


SURE = 0.95  # a whole question needs no melody
_QUESTION = re.compile(
    r"^(?:\w+, )?(?:what|who|where|when|why|how|which|whose|do|does|did|is|are|was|were|can|could"
    r"|will|would|should|may|have|has)\b.*(?<!\bme)(?<!\byou)(?<!\bus)(?<!\bit)(?<!\bthat)\?$",
    re.I,
)
_QUESTION_WORDS = 5


def surely_complete(text: str) -> bool:
    """Whether the words alone say so: a question with an object, which is worth no second look."""
    stripped = text.strip()
    if _UNFINISHED.match(stripped):
        return False
    return bool(_QUESTION.match(stripped)) and len(_WORD.findall(stripped)) >= _QUESTION_WORDS


def completeness(text: str, melody: float | None) -> float:
    """How likely the turn is complete (0–1), from its words and the `melody` verdict, if any."""
    likely = WITHOUT_MELODY if melody is None else melody
    words = _WORD.findall(text.lower())
    stripped = text.strip()
    if not words or _NEVER_LAST.search(stripped) or _RARELY_LAST.search(stripped):
        return OPEN
    if _UNFINISHED.match(stripped) or _OPENING.match(stripped):
        return OPEN
    if _HESITATION.search(stripped):
        return min(likely, 0.2)
    if _OPENER.match(stripped) and "," not in text and len(words) < 8:
        return min(likely, 0.2)
    if stripped.endswith("?") and len(words) >= 3:
        return max(likely, (likely + 1) / 2)
    return likely
