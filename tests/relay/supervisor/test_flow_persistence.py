"""The supervisor's loops towards the store end when they are told to."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from fleet.ending import end
from relay.supervisor.flow_persistence import FlowPersistence
from tests.rings import token_ring


class Stubborn:
    """A loop that swallows its first cancellation, as redis-py does while it cleans up."""

    def __init__(self) -> None:
        self.swallowed = asyncio.Event()

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.swallowed.set()
        await asyncio.Event().wait()


async def test_a_loop_that_swallows_a_cancellation_still_ends() -> None:
    """Each loop is a task of its own: a group around them would cancel it only once."""
    settings = SimpleNamespace(
        redis_url=SimpleNamespace(get_secret_value=lambda: "redis://127.0.0.1:1/0"),
        cluster=0,
        relay_flow_cache=True,
        relay_flow_idle_s=60,
    )
    crew = SimpleNamespace(
        posts=[], store_counts=None, answer=None, ask=None, token_keys=token_ring
    )
    flow_persistence = FlowPersistence(settings, crew)  # type: ignore[arg-type]
    loops = Stubborn(), Stubborn()
    flow_persistence._questions, flow_persistence._cache = loops  # type: ignore[assignment]
    tasks = [asyncio.ensure_future(loop()) for loop in flow_persistence.loops().values()]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end(tasks)
    assert all(loop.swallowed.is_set() for loop in loops)
    assert all(task.cancelled() for task in tasks)
    await flow_persistence.close()
