"""Threads shared by calls."""

from __future__ import annotations

import asyncio
import threading

import pytest

from backends.voice.pool import MAX_REMEMBERED, FairPool, PoolFull, Urgency


async def test_a_greedy_call_waits_for_itself() -> None:
    """Among equals the call that was served longest ago is next; the urgent go first."""
    pool, order = FairPool("test"), []
    gate = threading.Event()
    first = asyncio.ensure_future(pool.run("greedy", Urgency.NOW, gate.wait))

    def note(name: str) -> None:
        order.append(name)

    jobs = [first]
    for call, name, urgency in (
        ("greedy", "ahead", Urgency.AHEAD),
        ("greedy", "second", Urgency.NOW),
        ("greedy", "third", Urgency.NOW),
        ("modest", "other", Urgency.NOW),
    ):
        work = pool.run(call, urgency, lambda name=name: note(name))  # type: ignore[misc]
        jobs.append(asyncio.ensure_future(work))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wait_for(asyncio.gather(*jobs), 10)
    pool.close()
    assert order == ["other", "second", "third", "ahead"]


async def test_what_nobody_awaits_is_not_begun() -> None:
    """A cancelled job leaves the queue, the next one runs, errors reach who asked."""
    pool, done = FairPool("test"), []
    gate = threading.Event()
    first = asyncio.ensure_future(pool.run("a", Urgency.NOW, gate.wait))
    await asyncio.sleep(0)
    left = asyncio.ensure_future(pool.run("b", Urgency.NOW, lambda: done.append("left")))
    await asyncio.sleep(0)
    left.cancel()
    broken = asyncio.ensure_future(pool.run("c", Urgency.NOW, lambda: 1 // 0))
    await asyncio.sleep(0)
    gate.set()
    await first
    with pytest.raises(ZeroDivisionError):
        await broken
    pool.close()
    assert done == []


async def test_calls_come_and_go() -> None:
    """However many were served, the pool remembers a bounded number of them."""
    pool = FairPool("test")
    for number in range(MAX_REMEMBERED + 50):
        await pool.run(f"call_{number}", Urgency.NOW, int)
    pool.close()
    assert len(pool._served) == MAX_REMEMBERED


async def test_a_full_pool_says_so() -> None:
    """At the bound nothing more is taken."""
    pool, gate = FairPool("test", max_waiting=1), threading.Event()
    jobs = [asyncio.ensure_future(pool.run("a", Urgency.NOW, gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(PoolFull):
        await pool.run("a", Urgency.NOW, gate.wait)
    gate.set()
    await asyncio.gather(*jobs)
    pool.close()
