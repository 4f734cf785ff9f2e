"""Background tasks end, even those that swallow a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from fleet.ending import end, ending


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    """It ends with the second one; one that was done already is left alone."""
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    async def quick() -> None:
        return

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(quick())]
    await asyncio.sleep(0)
    await end(tasks)
    assert swallowed.is_set()
    assert tasks[0].cancelled()
    assert tasks[1].done()


async def test_a_block_that_fails_ends_its_tasks() -> None:
    """A start that fails half-way must not wait for ever for a loop that swallowed its end."""

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks, ending() as running:
            running.append(tasks.create_task(stubborn()))
            await asyncio.sleep(0)
            raise ValueError("the port is taken")
    assert caught.group_contains(ValueError)
