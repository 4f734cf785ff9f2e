"""Tasks that belong to one call and end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self

import structlog

from backends.agent.models import ModelFailure
from fleet.ending import end
from trunkline.backend.call import Call, CallOver

MAX_CALL_TASKS = 64
log = structlog.get_logger(__name__)


class CallTasks:
    """Runs coroutines for `call` until the block is left, which ends them all.

    One that raises is a bug: it is logged and ends the call; except CallOver, and ModelFailure,
    which is for whoever awaits it. More than MAX_CALL_TASKS at once raises RuntimeError.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(set(self._tasks))

    def run(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start one."""
        if len(self._tasks) >= MAX_CALL_TASKS:
            work.close()
            raise RuntimeError(f"more than {MAX_CALL_TASKS} tasks at once")
        task = asyncio.create_task(work, name=f"{name} {self._call.id}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, CallOver | ModelFailure):
            log.error("errand_failed", call_id=self._call.id, exc_info=error)
            self._call.hang_up("failed")
