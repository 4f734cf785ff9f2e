"""Live callers who note when they hear what, while processes around them are killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from launcher import Stack
from launcher.variables import of_part
from loadtest.callers.timed_socket import Record
from loadtest.media_bench.crowd import Crowd, Line
from loadtest.media_bench.links import UdpLink
from loadtest.media_bench.speech import speech
from loadtest.signaling import hang_up
from loadtest.target import Target
from tests.conftest import free_port
from wire.classify import PacketKind, classify

FRAME_S = 0.02
CHECK_EACH = 50  # frames: a second
ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0  # of whoever waits beside a machine that has no time
FLEET = ("CLUSTER", "TOKEN_KEYS", "TRUNK_KEYS", "REDIS_URL")


@dataclass
class Ear:
    """What one caller heard: arrival times of fresh frames, sequence numbers, what did not open."""

    heard_s: list[float] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    unopened: int = 0

    @property
    def gap_s(self) -> float:
        """The longest silence between two frames."""
        pairs = zip(self.heard_s, self.heard_s[1:], strict=False)
        return max((after - before for before, after in pairs), default=0.0)


class Survivors:
    """Callers of one target who speak without a pause, from `place` on until the end."""

    def __init__(self, session: aiohttp.ClientSession, target: Target) -> None:
        self._session, self._target = session, target
        self.link = UdpLink()
        self.crowd: Crowd[Any] = Crowd(session, target, self.link, speech())
        self.ears: dict[Any, Ear] = {}
        self._task: asyncio.Task[None] | None = None

    async def place(self, count: int) -> list[Line[Any]]:
        await self.crowd.grow_to(count)
        self.ears = {line.key: Ear() for line in self.crowd.lines}
        self._task = asyncio.create_task(self._speak())
        await self.all_hear(25)
        return self.crowd.lines

    async def all_hear(self, frames: int) -> None:
        """Return when every caller has heard so many frames more."""
        wanted = {key: len(ear.heard_s) + frames for key, ear in self.ears.items()}
        async with asyncio.timeout(PATIENCE_S):
            while any(len(self.ears[key].heard_s) < n for key, n in wanted.items()):
                await asyncio.sleep(FRAME_S)

    async def hang_up(self) -> None:
        """End all calls over HTTP. Raises CallFailedError when somebody does not know a call."""
        for line in self.crowd.lines:
            await hang_up(self._session, self._target, line.answer)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.link.close()

    @property
    def gaps_s(self) -> list[float]:
        return sorted(ear.gap_s for ear in self.ears.values())

    async def _speak(self) -> None:
        payloads, number = speech(), 0
        next_s = time.monotonic()
        while True:
            for line in self.crowd.lines:
                packets = line.voice.say([payloads[number % len(payloads)]])
                if number % CHECK_EACH == 0:
                    packets.append(line.caller.check)
                self.link.send([(line.key, packet) for packet in packets])
            number += 1
            self._listen()
            next_s += FRAME_S
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))

    def _listen(self) -> None:
        records: list[Record[Any]] = []
        self.link.drain_all(records)
        voices = {line.key: line.voice for line in self.crowd.lines}
        for seen_s, key, packet in self.link.packets(records):
            if key in voices and classify(packet) is PacketKind.RTP:
                ear = self.ears[key]
                if voices[key].open(packet) is None:  # of nobody, or heard before
                    ear.unopened += 1
                    continue
                ear.heard_s.append(seen_s)
                ear.sequences.append(packet[2] << 8 | packet[3])


@asynccontextmanager
async def survivors(stack: Stack) -> AsyncIterator[Survivors]:
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        made = Survivors(session, Target(stack.console_url, stack.api_key))
        try:
            yield made
        finally:
            await made.close()


class OtherPod:
    """One more transceiver of a stack, of one process; its log is kept."""

    def __init__(self, stack: Stack) -> None:
        self.http = free_port()
        own = {
            "TRUNKLINE_TRANSCEIVER_HTTP": f"127.0.0.1:{self.http}",
            "TRUNKLINE_TRANSCEIVER_ADMIN": f"127.0.0.1:{free_port()}",
            "TRUNKLINE_TRANSCEIVER_TRUNK": "127.0.0.1:0",
            "TRUNKLINE_TRANSCEIVER_PROCESSES": "1",
            "TRUNKLINE_TRANSCEIVER_CONSOLE": "false",
        }
        ours = of_part(stack.variables, "TRANSCEIVER_", *FLEET)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "transceiver"],
            cwd=ROOT,
            env={**os.environ, **ours, **own},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def ready(self) -> None:
        async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{self.http}/healthz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    async def counter(self, event: str) -> int:
        """One of its counters."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.http}/metrics") as answer,
        ):
            page = await answer.text()
        mark = f'trunkline_transceiver_events_total{{event="{event}"}} '
        return sum(int(float(line[len(mark) :])) for line in page.splitlines() if mark in line)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@asynccontextmanager
async def other_pod(stack: Stack) -> AsyncIterator[OtherPod]:
    pod = OtherPod(stack)
    try:
        await pod.ready()
        yield pod
    finally:
        await asyncio.to_thread(pod.stop)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in family(int(child)))]
