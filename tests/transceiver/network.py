"""A network on virtual time: packets in at their rhythm, out of it late, lost, twice, reordered."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from transceiver.rtp.jitter_buffer import JitterBuffer
from transceiver.rtp.receive import Frame, Origin

FRAME_S, TICKS = 0.02, 960
TRANSIT_S = 0.04


@dataclass(frozen=True)
class Network:
    """A path: loss and duplicates as shares, jitter uniform; `burst` losses come in runs."""

    loss: float = 0.0
    burst: int = 1
    jitter_s: float = 0.0
    duplicates: float = 0.0
    seed: int = 1

    def carry(self, count: int) -> list[tuple[float, int]]:
        """When which of `count` packets arrives, in order of arrival."""
        chance = random.Random(self.seed)
        arrivals: list[tuple[float, int]] = []
        losing = 0
        for index in range(count):
            losing = losing - 1 if losing else 0
            if not losing and chance.random() < self.loss / self.burst:
                losing = self.burst
            if losing:
                continue
            for _ in range(2 if chance.random() < self.duplicates else 1):
                late_s = chance.random() * self.jitter_s
                arrivals.append((index * FRAME_S + TRANSIT_S + late_s, index))
        return sorted(arrivals)


@dataclass(frozen=True)
class Heard:
    """A frame, when it left the buffer, and which packet of the sender's it is or stands for."""

    at_s: float
    frame: Frame
    index: int

    @property
    def delay_s(self) -> float:
        """Behind the moment at which the sender sent it, on a path without jitter."""
        return self.at_s - self.index * FRAME_S - TRANSIT_S

    @property
    def real(self) -> bool:
        return self.frame.origin is Origin.PACKET


def payload_of(index: int) -> bytes:
    return b"\xf8" + index.to_bytes(4)


def listen(
    arrivals: Iterable[tuple[float, int]],
    buffer: JitterBuffer,
    *,
    sequence: int = 0,
    timestamp: int = 0,
    until_s: float | None = None,
) -> list[Heard]:
    """What a buffer makes of packets, woken whenever it asks to be."""

    def told(frames: Iterable[Frame], now: float) -> Iterator[Heard]:
        for frame in frames:
            ticks = (frame.timestamp - timestamp + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
            yield Heard(now, frame, ticks // TICKS)

    heard: list[Heard] = []
    now = 0.0
    for arrival_s, index in arrivals:
        heard += _wake(buffer, arrival_s, told)
        now = arrival_s
        numbers = (sequence + index) & 0xFFFF, (timestamp + index * TICKS) & 0xFFFF_FFFF
        heard += told(buffer.push(*numbers, payload_of(index), now), now)
    heard += _wake(buffer, now + 1.0 if until_s is None else until_s, told)
    return heard


def _wake(buffer: JitterBuffer, until_s: float, told) -> Iterator[Heard]:  # type: ignore[no-untyped-def]
    while (deadline_s := buffer.deadline_s()) is not None and deadline_s <= until_s:
        yield from told(buffer.expire(deadline_s), deadline_s)
