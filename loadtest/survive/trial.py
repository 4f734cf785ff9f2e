"""One fault again and again, under the same live callers; who is lost is replaced."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp

from loadtest.callers.dtls import Identity
from loadtest.errors import CallFailedError
from loadtest.stand import Stand
from loadtest.survive.ear import Packet, between, gap_ms, lives, stale
from loadtest.survive.faults import Blow, Fault, whole
from loadtest.survive.line import Line, on_the_line

QUIET_S = 1.0  # of normal life before a blow
AFTER_S = 2.0  # that calls are watched after a blow is done, at least
ANSWER_S = 1.5  # for the last messages: as long as SCTP's retransmission takes
DRAWN_S = (1.0, 3.0)  # of sound before and after a blow, for the picture
ATTEMPTS = 5
RETRY_S = 1.0


@dataclass
class Seen:
    """What one fault did, over all its repeats. Calls that it was done to, and all others.

    `pauses_ms` is how long it took until a message was answered that was said after the blow.
    """

    fault: Fault
    repeats: int = 0
    struck: int = 0
    stayed: int = 0
    lost_calls: int = 0
    bystanders_lost: int = 0
    stale_packets: int = 0
    messages: int = 0
    messages_lost: int = 0
    messages_twice: int = 0
    forgotten: int = 0  # calls whose conversation began anew
    quiet_ms: list[float] = field(default_factory=list)  # gaps of the second before the blow
    gaps_ms: list[float] = field(default_factory=list)
    pauses_ms: list[float] = field(default_factory=list)
    drawn: list[Packet] = field(default_factory=list)  # one caller's, around the worst gap
    drawn_at_s: float = 0.0


class Callers:
    """So many live callers, as long as the block lasts."""

    def __init__(self, stand: Stand, calls: int) -> None:
        self.lines: list[Line] = []
        self._stand, self._calls = stand, calls
        self._identity = Identity.make()
        self._exit = AsyncExitStack()
        self._hung_up: dict[Line, AsyncExitStack] = {}

    async def __aenter__(self) -> Callers:
        self._http = await self._exit.enter_async_context(aiohttp.ClientSession())
        await self.fill()
        return self

    async def __aexit__(self, *_: object) -> None:
        for line in list(self._hung_up):
            await self.drop(line)
        await self._exit.aclose()

    async def fill(self) -> None:
        """Place calls until there are as many as there should be. Raises CallFailedError."""
        while len(self.lines) < self._calls:
            self.lines.append(await self._place(len(self.lines)))

    async def drop(self, line: Line) -> None:
        """Let go of a line."""
        if line in self.lines:
            self.lines.remove(line)
        await self._hung_up.pop(line).aclose()

    async def _place(self, number: int) -> Line:
        targets = self._stand.targets
        for attempt in range(ATTEMPTS):
            line, held = Line(), AsyncExitStack()
            target = targets[(number + attempt) % len(targets)]
            try:
                await held.enter_async_context(
                    on_the_line(self._http, target, self._identity, line)
                )
            except CallFailedError:
                await asyncio.sleep(RETRY_S)
                continue
            self._hung_up[line] = held
            return line
        raise CallFailedError("no_call")


async def endure(
    stand: Stand, callers: Callers, fault: Fault, repeats: int, into: Seen | None = None
) -> Seen:
    """Do a fault so often, noted `into` what is there. Raises CallFailedError when callers cannot
    call again."""
    seen = into or Seen(fault)
    for _ in range(repeats):
        await callers.fill()
        for line in callers.lines:
            line.forget()
        await asyncio.sleep(QUIET_S)
        async with whole(stand, fault):
            blow = await fault.strike(stand)
            least_s = time.time() + AFTER_S
            await asyncio.sleep(max(least_s, blow.began_s + fault.watch_s) - time.time())
            ends_s = time.time()
        await asyncio.sleep(max(0.0, ends_s + ANSWER_S - time.time()))
        await _note_all(seen, callers, blow, ends_s)
    return seen


async def _note_all(seen: Seen, callers: Callers, blow: Blow, ends_s: float) -> None:
    seen.repeats += 1
    seen.struck += len(blow.calls)
    seen.stayed += len(blow.stayed)
    for line in list(callers.lines):
        _note_messages(seen, line, ends_s)
        if not lives(line.heard, ends_s):
            await callers.drop(line)
            if line.call_id in blow.calls:
                seen.lost_calls += 1
            else:
                seen.bystanders_lost += 1
        elif line.call_id in blow.calls - blow.stayed:
            _note_sound(seen, line, blow, ends_s)


def _note_sound(seen: Seen, line: Line, blow: Blow, ends_s: float) -> None:
    gap = gap_ms(line.heard, blow.began_s, ends_s)
    if gap > max(seen.gaps_ms, default=-1):
        before_s, after_s = DRAWN_S
        seen.drawn_at_s = blow.began_s
        seen.drawn = list(between(line.heard, blow.began_s - before_s, blow.began_s + after_s))
    seen.gaps_ms.append(gap)
    seen.quiet_ms.append(gap_ms(line.heard, blow.began_s - QUIET_S, blow.began_s))
    if blow.wakes_s is not None:
        seen.stale_packets += stale(line.heard, blow.wakes_s)
    pause = _pause_ms(line, blow.began_s)
    if pause is not None:
        seen.pauses_ms.append(pause)


def _note_messages(seen: Seen, line: Line, ends_s: float) -> None:
    said = [number for number, said_s in line.said_s.items() if said_s < ends_s]
    seen.messages += len(said)
    seen.messages_twice += sum(line.replies[number] > 1 for number in said)
    if lives(line.heard, ends_s):  # those of a call that is lost are counted as the call
        seen.messages_lost += sum(not line.replies[number] for number in said)
    known = [line.known[number] for number in sorted(line.known)]
    seen.forgotten += any(later < earlier for earlier, later in pairwise(known))
    line.known.clear()


def _pause_ms(line: Line, began_s: float) -> float | None:
    replies = [
        line.replied_s[number]
        for number, said_s in line.said_s.items()
        if said_s >= began_s and number in line.replied_s
    ]
    return 1000 * (min(replies) - began_s) if replies else None
