"""Failures of models, as a backend tells of them: a ModelFault, or a turn that failed.

A turn's `failed` is `STAGE: REASON`, as `llm: timeout` (backends/agent/models.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from records.diagnosis.facts import Fact, Facts, finite, shown_ms
from records.diagnosis.finding import Evidence

RATE_LIMIT = frozenset({"rate_limit", "rate_limited"})
LATE = frozenset({"late", "timeout", "timed_out"})
EMPTY = frozenset({"empty"})


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed where: `stage` is stt, llm, tts, tool, upstream or "" for nobody knows."""

    fact: Fact
    stage: str
    kind: str
    what: str
    after_ms: float = 0.0

    def evidence(self, how: str) -> Evidence:
        """The event, with what happened in words."""
        after = f" after {shown_ms(self.after_ms)}" if self.after_ms else ""
        return self.fact.says(f"{self.what} {how}{after}")


def model_faults(facts: Facts) -> Iterator[Failure]:
    """Each ModelFault."""
    for fact in facts.of("model_fault"):
        stage, kind = _stage_and_kind(fact.body.stage, fact.body.kind)
        what = f"{_STAGES.get(stage, stage or 'the model')} {fact.body.model}".strip()
        yield Failure(fact, stage, kind, what, finite(fact.body.after_ms) or 0.0)


def failed_turns(facts: Facts) -> Iterator[Failure]:
    """Each turn that failed."""
    for fact in facts.turns():
        if fact.body.failed:
            stage, colon, reason = fact.body.failed.partition(":")
            stage, kind = (stage.strip(), reason.strip()) if colon else ("", stage.strip())
            what = f"turn {fact.body.turn}: {_STAGES.get(stage, 'the model')}"
            yield Failure(fact, stage, kind, what)


def _stage_and_kind(stage: str, kind: str) -> tuple[str, str]:
    """A provider's own code, as `rate_limit_exceeded`, comes in two parts of its words."""
    limited = f"{stage}_{kind}".startswith("rate_limit")
    return ("upstream", "rate_limit") if limited else (stage, kind)


_STAGES = {
    "stt": "speech recognition",
    "llm": "the language model",
    "tts": "speech synthesis",
    "tool": "the tool",
    "upstream": "the provider",
}
