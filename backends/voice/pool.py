"""Threads that several calls share fairly.

The most urgent kind of work goes first, and among equals the call that was served longest ago. So a
call that asks for much waits for itself, and the others do not wait for it. Work that nobody awaits
any more is not begun.

Bounds: MAX_WAITING jobs, beyond which `run` raises PoolFull at once; MAX_REMEMBERED calls, beyond
which the one served longest ago counts as never served, which ranks it no higher.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

MAX_WAITING = 256
MAX_REMEMBERED = 1024
Value = TypeVar("Value")


class Urgency(IntEnum):
    """What waits for the result: the caller in silence, or nobody yet."""

    NOW = 0
    AHEAD = 1


class PoolFull(Exception):  # noqa: N818 - a state, not a mistake
    """Too much waits already."""


@dataclass(frozen=True)
class _Job:
    call: str
    urgency: Urgency
    work: Callable[[], Any]
    result: asyncio.Future[Any]
    number: int


class FairPool:
    """`threads` workers named `name`. Use from one event loop; `close` when it ends."""

    def __init__(self, name: str, threads: int = 1, max_waiting: int = MAX_WAITING) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._max_waiting = max_waiting
        self._waiting: list[_Job] = []
        self._served: dict[str, int] = {}  # by call: when it was served last, the oldest first
        self._numbers = itertools.count(1)

    async def run(self, call: str, urgency: Urgency, work: Callable[[], Value]) -> Value:
        """What `work` returns in a thread. Raises PoolFull, and whatever `work` raises."""
        if len(self._waiting) >= self._max_waiting:
            raise PoolFull
        loop = asyncio.get_running_loop()
        job = _Job(call, urgency, work, loop.create_future(), next(self._numbers))
        self._waiting.append(job)
        self._start()
        result: Value = await job.result
        return result

    def close(self) -> None:
        """Begin nothing more; what runs ends by itself."""
        for job in self._waiting:
            job.result.cancel()
        self._waiting.clear()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        self._waiting = [job for job in self._waiting if not job.result.done()]
        while self._free and self._waiting:
            job = min(self._waiting, key=self._rank)
            self._waiting.remove(job)
            self._note_served(job.call)
            self._free -= 1
            running = asyncio.get_running_loop().run_in_executor(self._executor, job.work)
            running.add_done_callback(lambda done, job=job: self._finish(job, done))  # type: ignore[misc]

    def _note_served(self, call: str) -> None:
        self._served.pop(call, None)
        self._served[call] = next(self._numbers)
        if len(self._served) > MAX_REMEMBERED:
            del self._served[next(iter(self._served))]

    def _rank(self, job: _Job) -> tuple[int, int, int]:
        return job.urgency, self._served.get(job.call, 0), job.number

    def _finish(self, job: _Job, done: asyncio.Future[Any]) -> None:
        self._free += 1
        error = None if done.cancelled() else done.exception()
        if not job.result.done():
            if done.cancelled():
                job.result.cancel()
            elif error is not None:
                job.result.set_exception(error)
            else:
                job.result.set_result(done.result())
        self._start()
