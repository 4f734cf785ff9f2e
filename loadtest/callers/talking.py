"""A caller that talks: it sends 50 packets a second, and keeps what comes back.

Times are of the wall clock, as the kernel stamps packets. A sample is spoken at the moment at which
a microphone would have taken it: its packet leaves when the 20 ms are full. A sample is heard when
its packet has come and the samples before it have been played; there is no jitter buffer, whose
delay is the caller's own affair.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import aiohttp
import av
import numpy as np
from numpy.typing import NDArray

from loadtest.callers.calling import Connection, calling
from loadtest.callers.dtls import Identity
from loadtest.callers.opus_packets import encode
from loadtest.signaling import Answer
from loadtest.sound import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from loadtest.target import Target

FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
AUDIBLE = 500  # −36 dBFS: beyond what a codec makes of silence
TALKSPURT_GAP_S = 0.15
CHECK_EVERY = 200  # packets between two checks that keep consent (RFC 7675)


@dataclass(frozen=True)
class Spoken:
    """When an utterance began and ended, sample by sample, and when its last packet left."""

    began_s: float
    ended_s: float
    left_s: float


@dataclass(frozen=True)
class Heard:
    """A packet: when it came, and its first and last audible moment; None for silence."""

    came_s: float
    audible_s: tuple[float, float] | None

    @property
    def first_s(self) -> float:
        """The first audible moment, or when it came."""
        return self.audible_s[0] if self.audible_s else self.came_s


class TalkingCaller:
    """One call; made by `talking`."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.late_s = 0.0  # the latest a packet left after its time
        self._connection: Connection | None = None
        self._decoder = av.AudioCodecContext.create("libopus", "r")
        self._silence = encode(silence(1.0))[10:]
        self._queue: deque[bytes] = deque()
        self._sent = 0
        self._began_s = 0.0
        self._news = asyncio.Event()

    @property
    def answer(self) -> Answer:
        """What the call was answered with. Raises ValueError before `on`."""
        if self._connection is None:
            raise ValueError("no answer yet")
        return self._connection.answer

    @asynccontextmanager
    async def on(self, connection: Connection) -> AsyncIterator[None]:
        """Send silence for the length of the block, but for what is said."""
        self._connection = connection
        sending = asyncio.create_task(self._send_for_ever(connection))
        try:
            yield
        finally:
            sending.cancel()
            await asyncio.wait({sending})

    def hear(self, packet: bytes, came_s: float) -> None:
        """Take a packet of the other side."""
        payload = self._connection.voice.open(packet) if self._connection is not None else None
        if payload is not None:
            self.heard.append(Heard(came_s, self._audible(came_s, payload)))
            self._news.set()

    async def say(self, sound: Samples) -> Spoken:
        """Speak from the next packet on; return when the last one has left."""
        lead = mid_packet_lead(len(sound))
        packets = encode(np.concatenate([np.zeros(lead, np.int16), sound]))
        first = self._sent + len(self._queue)
        self._queue.extend(packets)
        starts_s = self._began_s + (first - 1) * FRAME_S
        began_s = starts_s + lead / SAMPLE_RATE_HZ
        left_s = starts_s + len(packets) * FRAME_S
        spoken = Spoken(began_s, began_s + len(sound) / SAMPLE_RATE_HZ, left_s)
        while self._queue:  # noqa: ASYNC110 - it goes by the clock
            await asyncio.sleep(FRAME_S)
        return spoken

    async def sound_after(self, moment_s: float, timeout_s: float) -> Heard | None:
        """The first packet with sound after a moment; None when none is in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while (first := self._first_after(moment_s)) is None:
                    await self._wait()
                return first
        except TimeoutError:
            return None

    async def quiet(self, for_s: float, timeout_s: float) -> None:
        """Return when nothing was heard for `for_s`, or in time at the latest."""
        ends_s = time.time() + timeout_s
        while time.time() < ends_s and time.time() - self.last_sound_s() < for_s:  # noqa: ASYNC110
            await asyncio.sleep(FRAME_S)

    def last_sound_s(self, before_s: float = float("inf")) -> float:
        """When the last sound before a moment was heard; 0 for never."""
        audible = (heard.audible_s for heard in reversed(self.heard) if heard.audible_s)
        return next((last for first, last in audible if first < before_s), 0.0)

    def answer_packets(self, from_s: float, to_s: float) -> int:
        """How many packets came of the answer heard from `from_s` on, before `to_s`.

        The packet that brought the first sound may have had silent ones before it.
        """
        came = [heard.came_s for heard in self.heard if heard.came_s <= to_s]
        after = sum(came_s >= from_s - FRAME_S for came_s in came)
        before = 0
        for later, earlier in pairwise(reversed(came[: len(came) - after + 1])):
            if later - earlier > TALKSPURT_GAP_S:
                break
            before += 1
        return after + before

    def _first_after(self, moment_s: float) -> Heard | None:
        found = None
        for heard in reversed(self.heard):
            if heard.came_s < moment_s:
                break
            if heard.audible_s:
                found = heard
        return found

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def _send_for_ever(self, connection: Connection) -> None:
        self._began_s = time.time()
        while True:
            due_s = self._began_s + self._sent * FRAME_S
            await asyncio.sleep(due_s - time.time())
            self.late_s = max(self.late_s, time.time() - due_s)
            connection.say(self._queue.popleft() if self._queue else self._quiet_packet())
            self._sent += 1
            if not self._sent % CHECK_EVERY:
                connection.check()

    def _quiet_packet(self) -> bytes:
        return self._silence[self._sent % len(self._silence)]

    def _audible(self, came_s: float, payload: bytes) -> tuple[float, float] | None:
        for frame in self._decoder.decode(av.Packet(payload)):
            samples = frame.to_ndarray()
            first = samples.reshape(-1)[:: len(frame.layout.channels)]
            loud = np.nonzero(np.abs(_as_int16(first)) > AUDIBLE)[0]
            if len(loud):
                at = loud / frame.sample_rate
                return came_s + float(at[0]), came_s + float(at[-1])
        return None


@asynccontextmanager
async def talking(
    http: aiohttp.ClientSession, target: Target, identity: Identity, session_json: str = ""
) -> AsyncIterator[TalkingCaller]:
    """A connected call, silent at first; hung up at the end. Raises CallFailedError."""
    talker = TalkingCaller()
    async with (
        calling(http, target, identity, talker.hear, session_json) as connection,
        talker.on(connection),
    ):
        yield talker


def mid_packet_lead(samples: int) -> int:
    """How much silence before a sound makes its last packet half full.

    A codec moves sound by 6.5 ms: near the edge of a packet nobody could say which was the last
    voiced one, and stamps of packets would be off by 20 ms.
    """
    return (FRAME_SAMPLES // 2 - samples) % FRAME_SAMPLES


def _as_int16(samples: NDArray[Any]) -> NDArray[np.int32]:
    whole = samples if samples.dtype.kind == "i" else samples * 32767
    return np.asarray(whole, np.int32)
