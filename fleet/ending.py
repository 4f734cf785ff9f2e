"""Ends background tasks and waits for their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

RETRY_S = 0.2


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` until they have ended; their outcomes are left to whoever holds them.

    Once is not always enough: a library that is cleaning up (seen in redis-py under load) can
    swallow a cancellation, and a loop around it would go on for ever.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=RETRY_S)


async def first_of(longest_s: float, *waits: Coroutine[Any, Any, Any]) -> None:
    """Return after the first of `waits`, or after `longest_s`; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=longest_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(tasks)


@asynccontextmanager
async def ending() -> AsyncIterator[list[asyncio.Task[Any]]]:
    """A list for background tasks, which are ended however the block is left.

    Inside a task group, whose own cancellation of what is left comes only once:

        async with asyncio.TaskGroup() as tasks, ending() as running:
            running.append(tasks.create_task(loop()))
    """
    tasks: list[asyncio.Task[Any]] = []
    try:
        yield tasks
    finally:
        await end(tasks)
