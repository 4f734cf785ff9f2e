"""Many synthetic callers of one target: placed, kept alive, measured, hung up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic

import aiohttp
import numpy as np

from loadtest.callers.caller import Caller
from loadtest.callers.dtls import Identity
from loadtest.callers.timed_socket import Key, Record
from loadtest.callers.voice import Voice
from loadtest.errors import CallFailedError
from loadtest.media_bench.cpu import Busy
from loadtest.media_bench.generator import ROUND_S, SLOTS, Schedule, Traffic, impaired, play
from loadtest.media_bench.impairment import Network
from loadtest.media_bench.lateness import Measured, Times
from loadtest.media_bench.links import Frame, Link
from loadtest.media_bench.trial import Trial
from loadtest.signaling import Answer, hang_up, post_offer
from loadtest.target import Target
from wire.classify import PacketKind, classify

AT_ONCE = 8
RETRANSMIT_S = 0.1
CALL_TIMEOUT_S = 15.0
CHECK_ROUNDS = 125
"""A caller's check again every 2.5 s, as Chrome sends it on a stable pair."""
WARM_UP_S = 1.0
"""The first frames of a measurement are sent and must come back, but are not timed."""


@dataclass
class Line(Generic[Key]):
    """One caller that is connected."""

    caller: Caller
    voice: Voice
    answer: Answer
    key: Key
    slot: int


class Crowd(Generic[Key]):
    """Callers of one target over one link. `held` echoes a caller are not counted as lost.

    That is for stock aiortc, whose jitter buffer keeps the last frames until others push them out.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        target: Target,
        link: Link[Key],
        payloads: Sequence[bytes],
        look: Callable[[], Busy] = Busy,
        held: int = 0,
    ) -> None:
        self.lines: list[Line[Key]] = []
        self._session = session
        self._target = target
        self._link = link
        self._payloads = payloads
        self._look = look
        self._held = held
        self._identity = Identity.make()
        self._joining: dict[Key, _Joining] = {}
        self._random = random.Random(20)  # the same phases in every run

    async def grow_to(self, count: int) -> None:
        """Place calls until there are `count`. Raises CallFailedError for the first that fails."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def place() -> None:
            async with turns:
                self.lines.append(await self._place())

        missing = count - len(self.lines)
        placed = await asyncio.gather(*(place() for _ in range(missing)), return_exceptions=True)
        for error in placed:
            if error is not None:
                raise error

    async def shrink_to(self, count: int) -> None:
        """Hang up the oldest calls until `count` are left."""
        await self.hang_up(self.lines[: max(0, len(self.lines) - count)])

    async def hang_up(self, leaving: Sequence[Line[Key]]) -> None:
        """Hang up these calls."""
        gone = {line.key for line in leaving}
        self.lines = [line for line in self.lines if line.key not in gone]
        turns = asyncio.Semaphore(AT_ONCE)

        async def leave(line: Line[Key]) -> None:
            async with turns:
                with suppress(CallFailedError):  # it is over either way
                    await hang_up(self._session, self._target, line.answer)
                self._link.close_one(line.key)

        await asyncio.gather(*map(leave, leaving))

    async def measure(self, callers: int, seconds: float) -> Trial:
        """Let the first `callers` speak for `seconds` after the warm-up, and time their echoes."""
        lines = self.lines[:callers]
        rounds = round((WARM_UP_S + seconds) / ROUND_S)
        lost_before = self._missing(lines)
        sent = [line.voice.sent for line in lines]
        schedule = await asyncio.to_thread(self._schedule, lines, rounds)
        before = self._look()
        traffic = await asyncio.to_thread(play, self._link, schedule)
        busy = before.until(self._look())
        measured = self._judge(lines, sent, traffic)
        measured.lost = max(0, self._missing(lines) - lost_before)
        return Trial(callers, rounds * ROUND_S, measured, busy, traffic.send_lateness_ms(99))

    async def speak(self, seconds: float, networks: Sequence[Network]) -> Traffic[Key]:
        """Let every caller speak through its own network; what comes back is not looked at."""
        rounds = round(seconds / ROUND_S)
        clean = await asyncio.to_thread(self._schedule, self.lines, rounds)
        network_of = dict(zip((line.key for line in self.lines), networks, strict=True))
        return await asyncio.to_thread(play, self._link, impaired(clean, network_of))

    def _missing(self, lines: Sequence[Line[Key]]) -> int:
        return sum(max(0, line.voice.sent - line.voice.heard - self._held) for line in lines)

    # Placing a call.

    async def _place(self) -> Line[Key]:
        caller = Caller(self._identity)
        answer = await post_offer(self._session, self._target, caller.offer)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                first = caller.answered(answer.sdp)
                key = self._link.open(caller)
                await self._join(caller, key, first)
        except (CallFailedError, TimeoutError) as error:
            with suppress(CallFailedError):  # what failed first is the reason to report
                await hang_up(self._session, self._target, answer)
            raise CallFailedError(getattr(error, "reason", "timeout")) from None
        assert caller.voice is not None  # noqa: S101 - that is what `_join` waits for
        return Line(caller, caller.voice, answer, key, self._random.randrange(SLOTS))

    async def _join(self, caller: Caller, key: Key, packets: list[bytes]) -> None:
        joining = self._joining[key] = _Joining(caller)
        loop = asyncio.get_running_loop()
        for sock in self._link.sockets():
            loop.add_reader(sock, self._read)
        try:
            self._send(key, packets)
            while not joining.connected.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(joining.connected.wait(), RETRANSMIT_S)
                if joining.failure is not None:
                    raise joining.failure
                if not joining.connected.is_set():
                    self._send(key, caller.again())
        finally:
            del self._joining[key]
            if not self._joining:
                for sock in self._link.sockets():
                    loop.remove_reader(sock)

    def _read(self) -> None:
        records: list[Record[Key]] = []
        self._link.drain_all(records)
        for _, key, packet in self._link.packets(records):
            joining = self._joining.get(key)
            if joining is not None:
                self._send(key, joining.receive(packet))

    def _send(self, key: Key, packets: Sequence[bytes]) -> None:
        self._link.send([(key, packet) for packet in packets])

    # Measuring.

    def _schedule(self, lines: Sequence[Line[Key]], rounds: int) -> Schedule[Key]:
        """Protect everything ahead of time and lay it out by round and slot."""
        schedule: list[list[list[Frame[Key]]]] = [[[] for _ in range(SLOTS)] for _ in range(rounds)]
        for number, line in enumerate(lines):
            sent, speech = line.voice.sent, self._payloads
            payloads = [speech[(sent + index) % len(speech)] for index in range(rounds)]
            for round_number, packet in enumerate(line.voice.say(payloads)):
                schedule[round_number][line.slot].append((line.key, packet))
            for round_number in range(number % CHECK_ROUNDS, rounds, CHECK_ROUNDS):
                schedule[round_number][line.slot].append((line.key, line.caller.check))
        return schedule

    def _judge(
        self, lines: Sequence[Line[Key]], sent: Sequence[int], traffic: Traffic[Key]
    ) -> Measured:
        echoes: dict[Key, dict[int, float]] = {line.key: {} for line in lines}
        last: dict[Key, bytes] = {}
        voices = {line.key: line.voice for line in lines}
        for seen_s, key, packet in self._link.packets(traffic.records):
            if key in voices and classify(packet) is PacketKind.RTP:
                number = voices[key].number(packet)
                # Beyond what was said: a codec's concealment of the silence behind it.
                if number not in echoes[key] and number < voices[key].sent:
                    echoes[key][number] = seen_s
                    voices[key].heard += 1
                    last[key] = packet
        measured = Measured()
        measured.foreign = sum(voices[key].open(packet) is None for key, packet in last.items())
        for line, before in zip(lines, sent, strict=True):
            measured.add(*_timed(echoes[line.key], before, line.slot, traffic))
        return measured


@dataclass
class _Joining:
    """A caller whose handshake is under way."""

    caller: Caller
    failure: CallFailedError | None = None

    def __post_init__(self) -> None:
        self.connected = asyncio.Event()

    def receive(self, packet: bytes) -> list[bytes]:
        try:
            packets = self.caller.receive(packet)
        except CallFailedError as error:
            self.failure = error
            self.connected.set()
            return []
        if self.caller.voice is not None:
            self.connected.set()
        return packets


def _timed(
    seen_s: dict[int, float], said_before: int, slot: int, traffic: Traffic[Key]
) -> tuple[Times, Times, Times]:
    """Scheduled, sent and seen of the frames after the warm-up, by frame."""
    rounds = len(traffic.sent_s)
    first = round(WARM_UP_S / ROUND_S)
    found = [n for n in range(first, rounds) if said_before + n in seen_s]
    seen = np.array([seen_s[said_before + number] for number in found], dtype=np.float64)
    return traffic.scheduled_s[found, slot], traffic.sent_s[found, slot], seen
