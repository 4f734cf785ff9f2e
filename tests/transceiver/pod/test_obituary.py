"""A pod's parent says which node a dead process was, over a real Redis."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from fleet.calls.owner import Owner
from fleet.errors import StoreUnavailable
from fleet.suspicion import Cause, Suspicion, SuspicionChannel
from tests.rings import token_ring
from transceiver.pod.heartbeat import Heartbeat
from transceiver.pod.obituary import MAX_UNDER_WAY, TIMES_S, Obituaries


async def test_a_death_is_said_and_heard(redis_url: str) -> None:
    """At once, by whoever listens."""
    said = Obituaries(SuspicionChannel(redis_url, 5, token_ring))
    heard = SuspicionChannel(redis_url, 5, token_ring)
    async with aclosing(heard.listen()) as words:
        first = asyncio.ensure_future(anext(words))
        while not first.done():  # until the subscription is there
            said.died(Owner(17, 3))
            await asyncio.wait([first], timeout=0.05)
        assert await first == Suspicion(17, 3, Cause.DIED)
    await said.close()
    await heard.close()


class Channel:
    """Away at first."""

    def __init__(self) -> None:
        self.tries = 0

    async def publish(self, suspicion: Suspicion) -> None:
        self.tries += 1
        if self.tries < 3:
            raise StoreUnavailable("away")

    async def close(self) -> None:
        """Nothing to let go of."""


async def test_it_is_said_again_also_when_redis_is_away() -> None:
    """A few times, since a word over pub/sub can be missed; then there is nothing left of it."""
    channel: Any = Channel()
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    said = Obituaries(channel, pause)
    said.died(Owner(17, 3))
    await asyncio.gather(*said._under_way)
    assert channel.tries == len(TIMES_S)
    assert sum(paused) == pytest.approx(TIMES_S[-1])
    await asyncio.sleep(0)
    assert not said._under_way


async def test_deaths_under_way_are_bounded() -> None:
    """And all of them end with the parent."""
    said = Obituaries(Channel(), lambda _: asyncio.Event().wait())  # type: ignore[arg-type]
    for node in range(MAX_UNDER_WAY + 10):
        said.died(Owner(node, 1))
    assert len(said._under_way) == MAX_UNDER_WAY
    await said.close()
    assert len(asyncio.all_tasks()) == 1


def test_a_process_says_which_node_it_is() -> None:
    """In memory that its parent reads; the highest numbers, the lowest, and none."""
    theirs = Heartbeat.create()
    ours = Heartbeat(theirs.fd)
    assert theirs.owner is None
    for owner in (Owner(0, 0), Owner(65535, 65535), Owner(17, 3), None):
        ours.owner = owner
        assert theirs.owner == owner
    ours.owner = Owner(1, 1)
    theirs.clear()
    assert ours.owner is None
    theirs.close()
