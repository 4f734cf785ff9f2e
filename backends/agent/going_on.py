"""How an agent goes on with a conversation that another one had. Pure.

the answer was heard whole, or there was none ─▶ a turn without an answer ─▶ ask the model
                                              └▶ nothing: the caller is next
a tool has run that must not run twice ─────────▶ announce
nothing of it was heard, and it was not written ─▶ ask the model anew
some of it ─────────────────────────────────────▶ say the rest, from the last word heard on;
                                                  let the model add what it had not written
"""

from __future__ import annotations

from dataclasses import dataclass, field

from backends.agent.memory import AgentMemory, AnswerMemory
from backends.agent.played import FRAME_MS
from backends.realtime.memory import ItemMemory, speech_of
from trunkline.backend.events import Playout

MS_PER_CHAR = 75.0  # of a slow voice: 13 characters a second


@dataclass(frozen=True)
class GoingOn:
    """What to do next. `heard_ms` of item `cut` were heard ("" for none): the rest of it is no
    part of the conversation.

    `say` these words, `ask` the model, `announce` that something went wrong.
    """

    cut: str = ""
    heard_ms: int = 0
    say: str = field(default="", repr=False)
    ask: bool = False
    announce: bool = False


def going_on(memory: AgentMemory, playout: Playout) -> GoingOn:
    """After a backend whose `playout` was this. What is queued will be heard, so it counts."""
    answer = memory.answer
    if answer is None:
        return _next_turn(memory)
    heard_ms = _heard_ms(answer, playout.sent + playout.queued)
    unheard = _unheard(memory, answer, heard_ms)
    if answer.effects and (unheard or not answer.written):
        return GoingOn(answer.item_id, heard_ms, announce=True)
    if answer.written and not unheard:
        return _next_turn(memory)
    if not heard_ms and not answer.written:
        return GoingOn(answer.item_id, 0, ask=True)
    return GoingOn(answer.item_id, heard_ms, unheard, ask=not answer.written)


def _next_turn(memory: AgentMemory) -> GoingOn:
    if not memory.unanswered:
        return GoingOn()
    item = _item(memory, memory.unanswered)
    known = item is not None and any(
        part.get("transcript") or part.get("text") for part in item.item.get("content", ())
    )
    return GoingOn(ask=True) if known else GoingOn(announce=True)


def _heard_ms(answer: AnswerMemory, frames: int) -> int:
    """Of the item that was being said when `frames` of the call have left."""
    run = answer.run
    return 0 if run is None else (run.before + max(0, frames - run.first)) * FRAME_MS


def _unheard(memory: AgentMemory, answer: AnswerMemory, heard_ms: int) -> str:
    item = _item(memory, answer.item_id)
    speech = speech_of(item) if item is not None else None
    if speech is None:
        return answer.rest.strip()
    text = speech.text
    speech.expect(ms_per_char(answer))
    return (text[len(speech.cut(heard_ms)) :] + answer.rest).strip()


def ms_per_char(answer: AnswerMemory) -> float:
    """How slowly the last words of an answer are taken to have been said (`Speech.expect`)."""
    return 0.0 if answer.said else MS_PER_CHAR


def _item(memory: AgentMemory, item_id: str) -> ItemMemory | None:
    items = memory.session.items
    return next((kept for kept in items if kept.item["id"] == item_id), None)
