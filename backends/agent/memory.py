"""What an agent remembers of its call, for the agent that goes on if this process is lost.

JSON with its version first, within MAX_SNAPSHOT_BYTES: where it is more the oldest items leave. A
reader refuses other versions; a field with a default may be added without a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from backends.agent.played import Run
from backends.realtime.memory import Count, SessionMemory
from trunkline.backend.restored import MAX_SNAPSHOT_BYTES

VERSION: Literal[1] = 1


class MemoryUnreadable(Exception):  # noqa: N818 - a verdict on foreign bytes
    """Bytes that are no memory of this version; the text quotes none of them."""


@dataclass(frozen=True)
class AnswerMemory:
    """The answer that is given. `item_id` is what is said now, `run` its newest frames.

    `rest` was written and is not yet said. `written`: the model has nothing to add. `said`: all
    sound was sent. `effects`: a tool was run that may not be run twice.
    """

    item_id: str
    run: Run | None
    rest: str = field(repr=False)
    written: bool
    said: bool
    effects: bool


@dataclass(frozen=True)
class TurnMemory:
    """What the caller is saying: the words that are known."""

    words: str = field(repr=False)


@dataclass(frozen=True)
class AgentMemory:
    """A conversation. `unanswered` is the item of a turn that is over and has no answer yet."""

    session: SessionMemory
    turns: Count
    heard_ms: Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
    answer: AnswerMemory | None = None
    turn: TurnMemory | None = None
    unanswered: str = ""
    version: Literal[1] = VERSION


_ADAPTER: TypeAdapter[AgentMemory] = TypeAdapter(AgentMemory)


def write(memory: AgentMemory) -> bytes:
    """As bytes; b"" where even a conversation without items is too large."""
    written = _ADAPTER.dump_json(memory)
    while len(written) > MAX_SNAPSHOT_BYTES:
        items = memory.session.items
        if not items:
            return b""
        # In proportion, so that two or three rounds are enough.
        kept = min(len(items) - 1, len(items) * MAX_SNAPSHOT_BYTES // len(written))
        memory = replace(memory, session=replace(memory.session, items=items[len(items) - kept :]))
        written = _ADAPTER.dump_json(memory)
    return written


def read(written: bytes) -> AgentMemory:
    """What `write` wrote. Raises MemoryUnreadable for anything else."""
    if len(written) > MAX_SNAPSHOT_BYTES:
        raise MemoryUnreadable(f"more than {MAX_SNAPSHOT_BYTES} bytes")
    try:
        return _ADAPTER.validate_json(written)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in problem["loc"] if not isinstance(part, int))
        raise MemoryUnreadable(f"{where or 'memory'}: {problem['type']}") from None
