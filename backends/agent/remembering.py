"""Gives the transceiver a memory of the conversation at each change, once a turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from backends.agent.memory import AgentMemory, MemoryUnreadable, read
from trunkline.backend.call import Call

log = structlog.get_logger(__name__)


class Remembering:
    """`take` makes a snapshot of the conversation as it is."""

    def __init__(self, call: Call, take: Callable[[], bytes]) -> None:
        self._call = call
        self._take = take
        self._due = False

    def changed(self) -> None:
        """The conversation is not what it was."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._remember)

    def _remember(self) -> None:
        self._due = False
        if not self._call.over:
            self._call.remember(self._take())


def recalled(call: Call) -> AgentMemory | None:
    """What a lost backend remembered of this call; None where that is nothing, or foreign."""
    if call.restored is None:
        return None
    told = {"call_id": call.id, "losses": call.restored.losses, "gap_ms": call.restored.gap_ms}
    try:
        memory = read(call.restored.snapshot)
    except MemoryUnreadable as error:
        log.warning("conversation_not_restored", reason=str(error), **told)
        return None
    log.info("conversation_restored", items=len(memory.session.items), **told)
    return memory
