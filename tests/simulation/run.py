"""One seed, one life of a fleet: the same every time."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections import Counter as Tally
from unittest import mock

from structlog.testing import capture_logs

from tests.relay.engine import repeatable
from tests.simulation.trouble import TROUBLES
from tests.simulation.virtual_time import VirtualTimeLoop
from tests.simulation.world import Scene, World

TROUBLED_S = 5.0
TROUBLE_EVERY_S = 0.25


class SimulationError(AssertionError):
    """A run in which something was not as it must be; the text says how to see it again."""


def simulate(seed: int) -> Tally[str]:
    """Live through one seed; returns what all relays counted. Raises SimulationError."""
    chance = random.Random(seed)
    scene = Scene(chance.randint(1, 3), chance.randint(3, 7), chance.randint(1, 3))
    # Half of the runs send everything the array way, however small the batch.
    few = chance.choice([0, 20])
    state = random.getstate()
    random.seed(seed)  # the jitter of the store's back-off
    try:
        with (
            repeatable(chance),
            capture_logs(),  # outages are many here, and meant
            mock.patch("relay.worker.uplink.FEW", few),
            mock.patch("relay.worker.downlink.FEW", few),
            asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
        ):
            return runner.run(_live(chance, scene, seed))
    finally:
        random.setstate(state)


async def _live(chance: random.Random, scene: Scene, seed: int) -> Tally[str]:
    world, failed = World(chance, scene), asyncio.get_running_loop().create_future()

    def fail(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception") or RuntimeError(context.get("message"))
        if not failed.done() and isinstance(error, Exception):
            failed.set_exception(error)

    asyncio.get_running_loop().set_exception_handler(fail)
    life = asyncio.create_task(_be(world))
    try:
        await asyncio.wait({life, failed}, return_when=asyncio.FIRST_COMPLETED)
        for done in (failed, life):
            if done.done():
                done.result()
    except Exception as error:
        raise SimulationError(_story(world, seed, error)) from error
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await world.close()
    return world.total


async def _be(world: World) -> None:
    """Trouble after trouble, and then an end that must be good."""
    world.populate()
    await asyncio.sleep(0.5)
    async with asyncio.TaskGroup() as troubles:
        until_s = asyncio.get_running_loop().time() + TROUBLED_S
        while asyncio.get_running_loop().time() < until_s:
            trouble = world.chance.choice(TROUBLES)
            world.note(trouble.__name__)
            troubles.create_task(trouble(world))
            await asyncio.sleep(world.chance.expovariate(1 / TROUBLE_EVERY_S))
    await world.end_well()


def _story(world: World, seed: int, error: Exception) -> str:
    place = traceback.format_exception(error)
    return "\n".join(
        [
            f"seed {seed}: {error}",
            f"see it again: python -m tests.simulation --seed {seed}",
            f"{world.scene}, at {asyncio.get_running_loop().time():.4f} s, after:",
            *world.trace,
            "".join(place),
        ]
    )
