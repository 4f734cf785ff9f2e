"""A call as people read it: whose, when, why it ended, how it sounded, what was wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from records.diagnosis.diagnose import Diagnosis, diagnose
from records.diagnosis.facts import NONE_SAID, Before, Facts, finite
from records.diagnosis.head import Head, head_of
from records.diagnosis.media_lines import MediaLine, media_lines
from records.diagnosis.steps import MoveLine, ToolLine, move_lines, tool_lines
from records.diagnosis.turn_table import TurnLine, turn_lines
from records.diagnosis.usage import ModelUsage, usage_of
from records.diagnosis.words import LIVE, end_in_words, word
from trunkline.v1 import record_pb2 as pb


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a call ended: by the closed lists of record.proto, and in words; empty while it lives."""

    reason: str
    cause: str
    words: str


@dataclass(frozen=True, slots=True)
class Story:
    """One call. Times ending in `_us` are Unix time in µs, others what their names say."""

    call_id: str
    state: str
    began_us: int
    last_us: int
    lasted_s: float
    ending: Ending
    head: Head
    media: tuple[MediaLine, ...]
    turns: tuple[TurnLine, ...]
    tools: tuple[ToolLine, ...]
    moves: tuple[MoveLine, ...]
    usage: tuple[ModelUsage, ...]
    events: int
    diagnosis: Diagnosis


def tell(
    events: Iterable[pb.Event],
    contents: Mapping[tuple[str, int], str] = NONE_SAID,
    before: Before | None = None,
) -> Story:
    """The story of one call from its events, in any order. Raises nothing."""
    facts = Facts(events, contents, before)
    ended = facts.last("ended")
    return Story(
        call_id=facts.all[0].event.call_id if facts.all else "",
        state="ended" if ended else "live",
        began_us=facts.began_us,
        last_us=facts.last_us,
        lasted_s=_lasted_s(facts),
        ending=_ending(ended.body) if ended else Ending("", "", LIVE),
        head=head_of(facts),
        media=media_lines(facts),
        turns=turn_lines(facts),
        tools=tool_lines(facts),
        moves=move_lines(facts),
        usage=usage_of(facts),
        events=len(facts.all),
        diagnosis=diagnose(facts),
    )


def _ending(ended: pb.Ended) -> Ending:
    reason = word(pb.EndReason, ended.reason, "END_REASON_")
    cause = word(pb.Cause, ended.cause, "CAUSE_")
    return Ending(reason, cause, end_in_words(ended))


def _lasted_s(facts: Facts) -> float:
    ended = facts.last("ended")
    told = finite(ended.body.lasted_s) if ended else None
    return told or max(0, facts.last_us - facts.began_us) / 1e6
