"""Keeps as many calls talking as its order says, and tells every second what became of them.

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
from collections.abc import Callable, Coroutine, Iterator

import aiohttp
import numpy as np
import numpy.typing as npt

from fleet.ending import ending
from loadtest.callers.light_dtls import Identity
from loadtest.errors import CallFailedError, CallRefusedError
from loadtest.live.call import LiveCall, leave, place
from loadtest.live.line import GRACE_S, Chunk
from loadtest.live.order import Mix, Order
from loadtest.live.port import Later
from loadtest.live.tally import Tally
from loadtest.media_bench.lateness import Times
from loadtest.target import Target

ROUND_S = 0.020
SLOTS = 20
SLOT_S = ROUND_S / SLOTS
CHECK_ROUNDS = 125
"""A connectivity check every 2.5 s, as Chrome sends it on a pair that works."""
POPULATION_S = 0.05
MAX_PLACING = 32
DEFAULT_RETRY_S = 1.0
KEPT_SECONDS = 4
"""A second is told when its chunks have been judged: a chunk lasts one, its grace another."""


class Generator:
    """Runs one order. `tell` gets a tally for each second, in order; `start_s` is a Unix time."""

    def __init__(self, order: Order, start_s: float, tell: Callable[[Tally], None]) -> None:
        self._order = order
        self._start_s = start_s
        self._tell = tell
        self._random = random.Random(f"{order.seed}.{order.index}")
        self._targets = [Target(url, order.api_key) for url in order.urls]
        self._identity = Identity.make()
        self._later = Later()
        self._slots: list[list[LiveCall]] = [[] for _ in range(SLOTS)]
        self._calls: deque[LiveCall] = deque()
        self._by_fd: dict[int, LiveCall] = {}
        self._poll = select.epoll()
        self._tallies: dict[int, Tally] = {}
        self._told = 0
        self._placing: set[asyncio.Task[None]] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._next_tick = 0
        self._speaking = True
        self._next_arrival_s = 0.0

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

    def _tally(self, at_s: float | None = None) -> Tally:
        """The tally of a Unix time, now by default; of a second that was told, the next one's."""
        second = int((time.time() if at_s is None else at_s) - self._start_s)
        second = max(second, self._told, 0)
        return self._tallies.setdefault(second, Tally(second))

    # Population.

    async def _population(self) -> None:
        await asyncio.sleep(self._until(0))
        while True:
            wanted = self._order.calls_at(self._second)
            there = len(self._calls) + len(self._placing)
            for _ in range(self._newcomers(wanted - there)):
                self._start(self._placing, self._place_one())
            for _ in range(min(there - wanted, len(self._calls))):
                self._remove(self._calls[0], "ended")
            await asyncio.sleep(POPULATION_S)

    def _newcomers(self, missing: int) -> int:
        """How many callers come now: as many as are missing, or as chance has it."""
        rate = self._order.arrivals_per_s
        if rate is None:
            return min(missing, self._room_to_place())
        due_s = time.time() - self._start_s
        count = 0
        while self._next_arrival_s <= due_s:
            self._next_arrival_s += self._random.expovariate(rate / self._order.processes)
            count += 1
        return min(count, max(0, missing))

    def _room_to_place(self) -> int:
        """Callers who wait to be let in do not keep others from trying; handshakes are bounded."""
        if self._order.retry.policy == "at_once":
            return self._order.calls_at(self._second)
        return MAX_PLACING - len(self._placing)

    def _start(self, tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _place_one(self) -> None:
        """One caller: tries until it is in, out of patience, or failed for another reason."""
        mix = self._choose_mix()
        gives_up_s = time.time() + self._order.retry.patience_s
        while True:
            try:
                call = await self._try(mix)
            except CallRefusedError as refused:
                tally = self._tally()
                tally.refused += 1
                tally.without_retry_after += refused.retry_after_s is None
                wait_s = self._wait_s(refused)
                if wait_s is None or time.time() + wait_s > gives_up_s:
                    tally.failures[refused.reason] += 1
                    await asyncio.sleep(DEFAULT_RETRY_S)
                    return
                await asyncio.sleep(wait_s)
            except CallFailedError as error:
                self._tally().failures[error.reason] += 1
                await asyncio.sleep(DEFAULT_RETRY_S)
                return
            else:
                self._add(call)
                return

    def _wait_s(self, refused: CallRefusedError) -> float | None:
        match self._order.retry.policy:
            case "at_once":
                return 0.0
            case "never":
                return None
            case _:
                return refused.retry_after_s or DEFAULT_RETRY_S

    async def _try(self, mix: Mix) -> LiveCall:
        """Ask one transceiver, then the others, as a load balancer does that looks at readiness."""
        targets = self._random.sample(self._targets, len(self._targets))
        for number, target in enumerate(targets, 1):
            try:
                return await place(
                    self._session,
                    target,
                    self._identity,
                    mix,
                    self._later,
                    slot=self._random.randrange(SLOTS),
                    phase=self._random.randrange(CHECK_ROUNDS),
                    seed=self._random.getrandbits(30),
                )
            except CallFailedError as error:
                away = isinstance(error, CallRefusedError) or error.reason == "http_error"
                if not away or number == len(targets):
                    raise
        raise CallFailedError("no_target")

    def _choose_mix(self) -> Mix:
        mixes = self._order.mixes
        return self._random.choices(mixes, [mix.share for mix in mixes])[0]

    def _add(self, call: LiveCall) -> None:
        tally = self._tally()
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
        tally = self._tally()
        setattr(tally, why, getattr(tally, why) + 1)
        self._note(call, over=True)
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
        round_number = tick // SLOTS
        for call in self._slots[tick % SLOTS] if self._speaking else ():
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
            self._tally(self._start_s + second - 0.5).live = len(self._calls)
            for call in list(self._calls):
                self._note(call)
                self._bury(call)
            self._tell_until(second - KEPT_SECONDS)

    def _bury(self, call: LiveCall) -> None:
        silent_s = time.time() - call.line.heard_s
        if call.closed or silent_s > self._order.dead_after_s:
            self._remove(call, "lost_calls")
            self._tally().failures["closed_by_peer" if call.closed else "silent"] += 1

    def _note(self, call: LiveCall, *, over: bool = False) -> None:
        line, now_s = call.line, time.time()
        for chunk in line.judged(now_s, over=over):
            self._count(chunk)
        tally = self._tally()
        if gap_s := line.take_gap():
            tally.gap_ms.add((1000 * gap_s,))
        tally.barge_in_ms.add(1000 * late_s for late_s in line.take_barge_ins(now_s))
        tally.duplicates += line.duplicates
        tally.rejected += line.rejected
        line.duplicates = line.rejected = 0

    def _count(self, chunk: Chunk) -> None:
        """Add frames to the seconds they were due in; a chunk lies in two."""
        for tally, frames in self._by_second(chunk.echoed_at_s):
            tally.sent += int(frames.sum())
            tally.echoed += int(frames.sum())
            tally.lateness_ms.add(1000 * chunk.lateness_s[frames])
            tally.send_lateness_ms.add(1000 * chunk.send_lateness_s[frames])
        for tally, frames in self._by_second(chunk.lost_at_s):
            tally.sent += int(frames.sum())

    def _by_second(self, at_s: Times) -> Iterator[tuple[Tally, npt.NDArray[np.bool_]]]:
        """The tallies of these times, each with which of them are its own."""
        seconds = np.floor(at_s - self._start_s)
        for second in np.unique(seconds):
            yield self._tally(self._start_s + float(second) + 0.5), seconds == second

    def _tell_until(self, second: int) -> None:
        while self._told < second:
            self._tell(self._tallies.pop(self._told, Tally(self._told)))
            self._told += 1

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
        self._tell_until(max(self._tallies, default=0) + 1)
