"""Keeps as many calls talking as its order says, and reports on them every second.

    population   every 50 ms: too few calls, place some; too many, the oldest leave
    wheel        every ms: the calls of this slot speak, what came is read, what was delayed is sent
    sweep        every second: chunks are judged, dead calls are buried, a tally is told

A call has one of 20 slots of a 20 ms round, by chance, so that callers do not speak in chorus. A
wheel that is late catches up: frames are sent late and say so (`send_lateness_ms`).
"""

from __future__ import annotations

import asyncio
import random
import select
import time
from collections import deque
from collections.abc import Callable, Coroutine

import aiohttp

from fleet.ending import ending
from loadtest.callers.port import Later
from loadtest.live.call import LiveCall, leave
from loadtest.live.line import GRACE_S
from loadtest.live.newcomers import CHECK_ROUNDS, ROUND_SLOTS, Newcomers
from loadtest.live.order import Mix, Order
from loadtest.live.tallies import Tallies
from loadtest.live.tally import Tally

SLOT_S = 0.020 / ROUND_SLOTS
POPULATION_S = 0.05
KEPT_SECONDS = 4
"""A second is told when its chunks have been judged: a chunk lasts one, its grace another."""


class Generator:
    """Runs one order. `tell` gets a tally for each second, in order; `start_s` is a Unix time."""

    def __init__(self, order: Order, start_s: float, tell: Callable[[Tally], None]) -> None:
        self._order = order
        self._start_s = start_s
        self._random = random.Random(f"{order.seed}.{order.index}")
        self._later = Later()
        self._tallies = Tallies(start_s, tell)
        self._newcomers = Newcomers(order, self._random, self._later, self._tallies)
        self._slots: list[list[LiveCall]] = [[] for _ in range(ROUND_SLOTS)]
        self._calls: deque[LiveCall] = deque()
        self._by_fd: dict[int, LiveCall] = {}
        self._poll = select.epoll()
        self._placing: set[asyncio.Task[None]] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._next_tick = 0
        self._speaking = True

    async def run(self) -> None:
        """Return when the order's time is over and every call has been left."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as self._session, ending() as running:
            wheel = asyncio.create_task(self._wheel(), name="wheel")
            running += [wheel, asyncio.create_task(self._population(), name="population")]
            running.append(asyncio.create_task(self._sweep(), name="sweep"))
            over = asyncio.create_task(asyncio.sleep(self._until(self._order.seconds)))
            running.append(over)
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                if task.done():
                    task.result()
            running[1].cancel()
            await self._finish()
        self._poll.close()

    def _until(self, second: float) -> float:
        return max(0.0, self._start_s + second - time.time())

    @property
    def _second(self) -> float:
        return time.time() - self._start_s

    # Population.

    async def _population(self) -> None:
        await asyncio.sleep(self._until(0))
        while True:
            second, there = self._second, len(self._calls) + len(self._placing)
            wanted = self._order.calls_at(second)
            for _ in range(self._newcomers.due(second, wanted - there, len(self._placing))):
                self._start(self._placing, self._place_one())
            for _ in range(min(there - wanted, len(self._calls))):
                self._remove(self._calls[0], "ended")
            await asyncio.sleep(POPULATION_S)

    def _start(self, tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _place_one(self) -> None:
        call = await self._newcomers.come(self._session)
        if call is not None:
            self._add(call)

    def _add(self, call: LiveCall) -> None:
        tally = self._tallies.at()
        tally.placed += 1
        tally.setup_ms.add((1000 * call.setup_s,))
        self._calls.append(call)
        self._slots[call.slot].append(call)
        self._watch(call)
        loop = asyncio.get_running_loop()
        if call.mix.call_s is not None:
            loop.call_later(self._length_s(call.mix, call.mix.call_s), self._remove, call, "ended")
        if call.mix.network.nat_rebind_s is not None:
            loop.call_later(call.mix.network.nat_rebind_s, self._rebind, call)

    def _length_s(self, mix: Mix, call_s: float) -> float:
        return call_s if mix.call_length == "fixed" else self._random.expovariate(1 / call_s)

    def _watch(self, call: LiveCall) -> None:
        self._by_fd[call.port.sock.fileno()] = call
        self._poll.register(call.port.sock, select.EPOLLIN)

    def _forget(self, fd: int) -> None:
        del self._by_fd[fd]
        self._poll.unregister(fd)

    def _rebind(self, call: LiveCall) -> None:
        if call.port.sock.fileno() not in self._by_fd:
            return
        self._forget(call.port.sock.fileno())
        call.port.rebind().close()
        self._watch(call)
        assert call.mix.network.nat_rebind_s is not None  # noqa: S101 - or nobody came here
        asyncio.get_running_loop().call_later(call.mix.network.nat_rebind_s, self._rebind, call)

    def _remove(self, call: LiveCall, why: str) -> None:
        """Take a call out; nothing happens when it is out already."""
        if call.port.sock.fileno() not in self._by_fd:
            return
        self._forget(call.port.sock.fileno())
        self._calls.remove(call)
        self._slots[call.slot].remove(call)
        tally = self._tallies.at()
        setattr(tally, why, getattr(tally, why) + 1)
        self._tallies.note(call.line, over=True)
        self._start(self._leaving, leave(self._session, call))

    # Wheel.

    async def _wheel(self) -> None:
        await asyncio.sleep(self._until(0))
        while True:
            now_s = time.time()
            due = int((now_s - self._start_s) / SLOT_S)
            for tick in range(self._next_tick, due + 1):
                self._speak(tick)
            self._next_tick = due + 1
            self._listen()
            self._later.run(time.time())
            ahead_s = self._start_s + self._next_tick * SLOT_S - time.time()
            await asyncio.sleep(max(ahead_s, 0))

    def _speak(self, tick: int) -> None:
        scheduled_s = self._start_s + tick * SLOT_S
        round_number = tick // ROUND_SLOTS
        for call in self._slots[tick % ROUND_SLOTS] if self._speaking else ():
            call.say(scheduled_s, now_s := time.time())
            if round_number % CHECK_ROUNDS == call.phase:
                call.check(now_s)

    def _listen(self) -> None:
        for fd, _events in self._poll.poll(0):
            call = self._by_fd[fd]
            call.port.receive(call.hear, time.time())

    # Sweep.

    async def _sweep(self) -> None:
        second = 0
        while True:
            second += 1
            await asyncio.sleep(self._until(second))
            self._tallies.at(self._start_s + second - 0.5).live = len(self._calls)
            for call in list(self._calls):
                self._tallies.note(call.line)
                self._bury(call)
            self._tallies.tell_until(second - KEPT_SECONDS)

    def _bury(self, call: LiveCall) -> None:
        silent_s = time.time() - call.line.heard_s
        if call.closed or silent_s > self._order.dead_after_s:
            self._remove(call, "lost_calls")
            self._tallies.at().failures["closed_by_peer" if call.closed else "silent"] += 1

    async def _finish(self) -> None:
        """Stop speaking, hear the last echoes, leave, tell the rest."""
        self._speaking = False
        await asyncio.sleep(GRACE_S)
        for call in list(self._calls):
            self._remove(call, "ended")
        while pending := [*self._placing, *self._leaving]:
            for task in self._placing:
                task.cancel()
            await asyncio.wait(pending, timeout=1)
        self._tallies.tell_rest()
