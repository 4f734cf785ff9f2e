"""Background tasks end, even those that swallow a cancellation."""

from __future__ import annotations

import asyncio

from fleet.ending import end


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
