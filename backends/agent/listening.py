"""What a session's `turn_detection` means for the turn detector. Pure."""

from __future__ import annotations

from backends.agent.ear import PREFIX_S
from backends.agent.turns import START_S, Patience, TurnDetector
from backends.realtime import SemanticVad, ServerVad, TurnDetection

PROBE_S = 0.032  # one window: the meter is late by two already, and to look in vain costs a partial
# The longest pause in a turn that does not sound finished; OpenAI's own caps are 2 to 8 s.
LONGEST_S = {"high": 1.0, "auto": 1.4, "medium": 1.4, "low": 3.0}
SHORTEST_S = {"high": 0.2, "auto": 0.25, "medium": 0.25, "low": 0.5}


def detector(detection: TurnDetection | None) -> TurnDetector | None:
    """A new turn detector; None where the client ends turns itself."""
    if isinstance(detection, ServerVad):
        patience = Patience.fixed(detection.silence_duration_ms / 1000)
        return TurnDetector(detection.threshold, patience, PROBE_S)
    if isinstance(detection, SemanticVad):
        longest_s = min(LONGEST_S[detection.eagerness], detection.max_silence_s)
        shortest_s = SHORTEST_S[detection.eagerness]
        return TurnDetector(0.5, Patience(shortest_s, longest_s), PROBE_S)
    return None


def prefix_s(detection: TurnDetection | None) -> float:
    """How much sound from before a voice was noticed belongs to its turn."""
    if isinstance(detection, ServerVad):  # it counts from the beginning of the voice
        return START_S + detection.prefix_padding_ms / 1000
    return PREFIX_S


class StablePrefix:
    """Words of growing transcripts that two in a row agree on, given out once."""

    def __init__(self) -> None:
        self._before: list[str] = []
        self._told = 0

    @property
    def words(self) -> str:
        """The newest transcript, confirmed or not."""
        return " ".join(self._before)

    def grow(self, text: str) -> str:
        """The words that this transcript confirms, with the space that joins them."""
        words = text.split()
        agreed = 0
        for old, new in zip(self._before, words, strict=False):
            if old != new:
                break
            agreed += 1
        self._before = words
        fresh = words[self._told : agreed]
        first = not self._told
        self._told = max(self._told, agreed)
        return "" if not fresh else ("" if first else " ") + " ".join(fresh)
