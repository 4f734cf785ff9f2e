"""Processes are killed and stopped under live callers; all go on, and nobody hears the dead."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio

from launcher import Stack, StackSettings
from tests.conftest import free_port
from tests.integration.survivors import family, other_pod, survivors
from transceiver.call.call_id import origin_of

CALLERS = 6


def settings(processes: int) -> StackSettings:
    return StackSettings(
        {
            "TRUNKLINE_TRANSCEIVER_PROCESSES": str(processes),
            "TRUNKLINE_TRANSCEIVER_TRUNK": "127.0.0.1:0",
            "TRUNKLINE_TRANSCEIVER_ADMIN": f"127.0.0.1:{free_port(successors=1)}",
            "TRUNKLINE_LOG_LEVEL": "info",
        },
        ready_timeout_s=60.0,
    )


def end(pids: Iterable[int], how: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        os.kill(pid, how)


def process_of(call_url: str) -> int:
    origin = origin_of(call_url.rpartition("/")[2])
    assert origin is not None
    return origin.process


async def test_a_process_of_a_pod_is_killed() -> None:
    """Its neighbour has its calls a moment later; all go on, and are found under their ids."""
    async with Stack(settings(2)) as stack, survivors(stack) as callers:
        lines = await callers.place(CALLERS)
        while len({process_of(line.answer.call_url) for line in lines}) < 2:
            lines = await callers.place(len(lines) + CALLERS)
        _, *children = family(stack.parts["transceiver"].pid)
        assert len(children) == 2
        end(children[:1])
        await callers.all_hear(100)
        await callers.hang_up()


async def test_all_processes_of_a_pod_are_killed() -> None:
    """Nobody is left to say so: relays miss them, nobody answers, and another pod goes on."""
    async with Stack(settings(2)) as stack, other_pod(stack) as pod, survivors(stack) as callers:
        await callers.place(CALLERS)
        end(family(stack.parts["transceiver"].pid))
        await callers.all_hear(100)
        assert await pod.counter("calls_taken_over") == CALLERS
        assert await pod.counter("nodes_fenced") >= 1


async def test_a_process_that_stood_still_comes_back_to_nothing() -> None:
    """Its calls are elsewhere. What it says then reaches nobody, and it takes calls again."""
    async with Stack(settings(1)) as stack, other_pod(stack) as pod, survivors(stack) as callers:
        await callers.place(CALLERS)
        stopped = family(stack.parts["transceiver"].pid)
        end(stopped, signal.SIGSTOP)
        try:
            await callers.all_hear(150)
            assert await pod.counter("calls_taken_over") == CALLERS
        finally:
            end(stopped, signal.SIGCONT)
        await callers.all_hear(100)
        for ear in callers.ears.values():
            assert ear.unopened == 0
            assert len(set(ear.sequences)) == len(ear.sequences)


async def test_redis_was_away_and_came_back_empty_before() -> None:
    """Calls are kept again by then, without anybody's help."""
    async with Stack(settings(1)) as stack, other_pod(stack) as pod, survivors(stack) as callers:
        await callers.place(CALLERS)
        end([stack.parts["redis"].pid])
        await callers.all_hear(250)
        end(family(stack.parts["transceiver"].pid))
        await callers.all_hear(100)
        assert await pod.counter("calls_taken_over") == CALLERS


class Hand:
    """Somebody who reads and writes Redis, and has no key of the fleet."""

    def __init__(self, url: str) -> None:
        self.raw: Any = redis.asyncio.Redis.from_url(url)

    async def checkpoints(self) -> dict[bytes, dict[bytes, bytes]]:
        """All that there are now, by key."""
        keys = [key async for key in self.raw.scan_iter("trunkline:{*}:calls:*")]
        return {key: await self.raw.hgetall(key) for key in keys if not key.endswith(b":taken")}

    async def bring_back(self, old: dict[bytes, dict[bytes, bytes]]) -> None:
        """Put old checkpoints in the place of newer ones, again and again."""
        while True:
            for key, texts in old.items():
                await self.raw.hset(key, mapping=texts)
            await asyncio.sleep(0.01)

    async def spoil(self) -> None:
        """Take checkpoints away, and put in their place whatever comes to mind."""
        for key, texts in (await self.checkpoints()).items():
            states = [name for name in texts if b"/" not in name]
            await self.raw.delete(key)
            await self.raw.hset(key, mapping=dict.fromkeys([*states, b"rtc_nobody"], b"1.AAAA"))
            await self.raw.set(key + b":taken", b"no hash", px=60_000)


@asynccontextmanager
async def hand_in_redis(stack: Stack) -> AsyncIterator[Hand]:
    hand = Hand(stack.variables["TRUNKLINE_REDIS_URL"])
    yield hand
    await hand.raw.aclose()


async def test_an_old_checkpoint_that_somebody_brings_back_repeats_no_number() -> None:
    """The caller goes on, nothing is heard twice, and every packet is of a number of its own."""
    async with (
        Stack(settings(1)) as stack,
        other_pod(stack),
        hand_in_redis(stack) as hand,
        survivors(stack) as callers,
    ):
        await callers.place(CALLERS)
        old = await hand.checkpoints()
        assert sum(map(len, old.values())) == 2 * CALLERS
        await callers.all_hear(200)
        task = asyncio.create_task(hand.bring_back(old))
        await callers.all_hear(10)
        end(family(stack.parts["transceiver"].pid))
        await callers.all_hear(100)
        task.cancel()
        for ear in callers.ears.values():
            assert ear.unopened == 0
            assert len(set(ear.sequences)) == len(ear.sequences)


async def test_spoilt_checkpoints_are_replaced_and_cost_nothing() -> None:
    """Whatever somebody does to them: a second later they are whole, and good for a takeover."""
    async with (
        Stack(settings(1)) as stack,
        other_pod(stack) as pod,
        hand_in_redis(stack) as hand,
        survivors(stack) as callers,
    ):
        await callers.place(CALLERS)
        for _ in range(3):
            await hand.spoil()
        await callers.all_hear(100)
        end(family(stack.parts["transceiver"].pid))
        await callers.all_hear(100)
        assert await pod.counter("calls_taken_over") == CALLERS
        assert await pod.counter("takeover_unreadable") >= 1
