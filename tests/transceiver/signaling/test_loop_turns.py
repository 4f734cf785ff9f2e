from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from fleet.ending import end
from tests.transceiver.front_door import FakeSession, front_door
from tests.transceiver.offers import real_offer
from transceiver.signaling.loop_turns import LoopTurns

WAITERS = 20


class Wakeups:
    """How often a socket that is always readable was looked at."""

    def __init__(self) -> None:
        self.count = 0

    def note(self) -> None:
        self.count += 1


@contextmanager
def a_busy_socket() -> Iterator[Wakeups]:
    """Stand in for media: something to read in every turn of the loop."""
    wakeups, loop = Wakeups(), asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"sound")
        loop.add_reader(ours, wakeups.note)
        try:
            yield wakeups
        finally:
            loop.remove_reader(ours)


@pytest.mark.parametrize("pause_s", [0.0, 0.001])
async def test_sockets_have_their_turn_between_any_two(pause_s: float) -> None:
    """Who comes at once goes on one after another, in order, and media is read in between."""
    turns, went = LoopTurns(pause_s), []
    with a_busy_socket() as media:

        async def wait(number: int) -> None:
            await turns.mine()
            went.append((number, media.count))

        await asyncio.gather(*map(wait, range(WAITERS)))
    assert [number for number, _ in went] == list(range(WAITERS))
    assert all(later > earlier for (_, earlier), (_, later) in pairwise(went))


async def test_who_is_alone_waits_for_nobody() -> None:
    """The first goes on at once; so does one that comes when the others are done."""
    turns = LoopTurns()
    for _ in range(2):
        turn = turns.mine()
        try:
            turn.send(None)
        except StopIteration:
            await asyncio.sleep(0)
            continue
        raise AssertionError("it waited")


async def test_requests_of_many_connections_are_begun_one_a_turn() -> None:
    """However many each has sent ahead."""
    begun: list[int] = []
    async with front_door() as door:
        with a_busy_socket() as media:
            door.engine.find = lambda _: begun.append(media.count)  # type: ignore[assignment, method-assign]
            await asyncio.gather(*(door.ask("DELETE", "/whip/rtc_1") for _ in range(WAITERS)))
    assert len(begun) == WAITERS
    assert all(later > earlier for earlier, later in pairwise(begun))


async def test_who_gave_up_takes_no_turn() -> None:
    """Cancelled requests are passed over, and those behind them still come."""
    turns = LoopTurns()
    await turns.mine()
    waiting = [asyncio.ensure_future(turns.mine()) for _ in range(WAITERS)]
    await asyncio.sleep(0)
    await end(waiting[1:-1])
    await asyncio.gather(waiting[0], waiting[-1])


async def test_offers_that_come_at_once_are_taken_one_a_turn() -> None:
    """No two calls are made without a look at the sockets between them."""
    made: list[int] = []
    async with front_door() as door:
        create = door.engine.create_call

        def noted(*asked: Any) -> FakeSession:
            made.append(media.count)
            return create(*asked)

        door.engine.create_call = noted  # type: ignore[assignment, method-assign]
        with a_busy_socket() as media:
            placed = await asyncio.gather(
                *(door.post_sdp("/whip", real_offer()) for _ in range(WAITERS))
            )
    assert [answer.status for answer in placed] == [201] * WAITERS
    assert all(later > earlier for earlier, later in pairwise(made))
