"""Snapshots of conversations: what one backend remembered, another reads."""

from __future__ import annotations

import json
from collections.abc import Iterable

from backends.agent.going_on import going_on
from backends.agent.memory import AgentMemory, AnswerMemory, MemoryUnreadable, TurnMemory
from backends.agent.memory import read as read_agent
from backends.agent.memory import write as write_agent
from backends.agent.played import Run
from backends.openai_realtime.known import Known, KnownUnreadable
from backends.openai_realtime.known import read as read_known
from backends.realtime import RealtimeSession
from backends.realtime.conversation import MAX_ITEMS
from backends.realtime.memory import MAX_PIECES, cut, recall, remembered
from tests.fuzz.mutation import words
from tests.fuzz.row import Row, plain
from tests.fuzz.rows.http import JSON_BREAKS, JSON_WORDS, _nested
from tests.fuzz.rows.realtime import _sent
from trunkline.backend.events import Playout
from trunkline.backend.restored import MAX_SNAPSHOT_BYTES

_HEARD = Playout(sent=20, queued=5)


def _conversation() -> AgentMemory:
    """In the middle of an answer, with the caller speaking."""
    session = RealtimeSession(json.dumps({"instructions": "Be brief."}))
    item_id, _ = session.input_committed()
    session.input_transcript(item_id, "Hello?", 1.0)
    session.response_created()
    session.function_call_started("f", "call_1")
    session.function_call_delta("{}")
    spoken, _ = session.message_started()
    session.message_delta("One two three. ")
    session.audio_sent(spoken, 800)
    session.message_delta("Four five.")
    session.speech_started(100)
    answer = AnswerMemory(spoken, Run(spoken, 3, 0, 40), " Six.", False, False, False)
    return AgentMemory(remembered(session), 3, 1000.0, answer, TurnMemory("and"), item_id)


def _known() -> bytes:
    """A bridge's, with an answer that is said."""
    known = Known()
    known.told({"type": "session.update", "session": {"instructions": "Be brief."}})
    message = {"id": "item_1", "type": "message", "role": "assistant", "content": []}
    known.heard({"type": "conversation.item.added", "item": message})
    known.heard({"type": "response.created", "response": {"id": "resp_1"}})
    said = {"type": "response.output_audio_transcript.delta", "item_id": "item_1"}
    known.heard({**said, "delta": "One two."})
    known.sounded("item_1", 400)
    return known.export("item_1", Run("item_1", 3, 0, 20))


def _agent(data: bytes) -> None:
    memory = read_agent(data)
    session = RealtimeSession()
    plan = going_on(memory, _HEARD)
    _sent(recall(session, memory.session))
    _sent(cut(session, plan.cut, plan.heard_ms, 75.0))
    read_agent(write_agent(AgentMemory(remembered(session), memory.turns, memory.heard_ms)))


def _bridge(data: bytes) -> None:
    memory, known = read_known(data), Known()
    known.recall(memory)
    heard_ms = known.heard_ms(memory, _HEARD.sent)
    if heard_ms is not None:
        known.cut_short(memory.said_item, heard_ms)
    json.dumps(known.openings())
    read_known(known.export(memory.said_item, memory.run))


_AGENT, _KNOWN = write_agent(_conversation()), _known()
_NEWER = _AGENT.replace(b'"version":1', b'"version":2')
_ITEM = b'{"item":{"id":"item_%07d","type":"message","status":"completed","role":"user",'
_ITEM += b'"content":[{"type":"input_text","text":"x"}]},"response_id":"","speech":null}'
_PIECE = b'["w",1%06d]'


def _worst(whole: bytes) -> object:
    """Snapshots of so many bytes: of many items, of many words, and what is none."""

    def made(size: int) -> Iterable[bytes]:
        yield from _nested(size)
        for name, one, most in (
            (b'"items":[', _ITEM, MAX_ITEMS - 8),
            (b'"pieces":[', _PIECE, MAX_PIECES - 8),
        ):
            head, _, tail = whole.partition(name)
            count = min(most, max(1, (size - len(whole)) // (len(one % 0) + 1)))
            many = b"".join(one % number + b"," for number in range(count))
            yield head + name + many + tail

    return made


def _row(name: str, where: str, seeds: tuple[bytes, ...], steps: int, reader: object) -> Row:
    return Row(
        name=name,
        where=where,
        who="backends, of this release or another",
        largest=MAX_SNAPSHOT_BYTES,
        steps=steps,
        becomes="one line in the log; the conversation begins anew",
        open=plain(reader),  # type: ignore[arg-type]
        seeds=seeds,
        worst=_worst(seeds[0]),  # type: ignore[arg-type]
        mutate=words((*JSON_WORDS, b'"item_1"', b"2", b"-1"), JSON_BREAKS, seeds),
        refusals=(MemoryUnreadable, KnownUnreadable),
        weight=2,
    )


ROWS = (
    _row("snapshots of an agent", "backends/agent/memory.py", (_AGENT, _NEWER), 600_000, _agent),
    _row("snapshots of a bridge", "backends/openai_realtime/known.py", (_KNOWN,), 400_000, _bridge),
)
