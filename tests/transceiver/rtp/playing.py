"""A paced sender on virtual time: frames that come when a test says, packets as they leave."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from transceiver.rtp.send import PacedSender
from wire import rtp

FRAME_S, TICKS = 0.02, 960


@dataclass
class Played:
    """What left: when, and which of the frames. `packets` are the payloads."""

    sender: PacedSender
    left_s: list[float] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)

    def delays_s(self, since_s: float, until_s: float = math.inf) -> list[float]:
        """How late frames left that left within the time; frame n is spoken at n frame times."""
        return [
            left_s - index * FRAME_S
            for left_s, index in zip(self.left_s, self.indexes, strict=True)
            if since_s <= left_s < until_s
        ]


def play(
    arrivals: Iterable[tuple[float, int]],
    frames: Sequence[bytes],
    sender: PacedSender | None = None,
) -> Played:
    """Push frame `index % len(frames)` at each arrival; poll whenever the sender is due."""
    played = Played(PacedSender(1, 111, 0, 0) if sender is None else sender)
    pushed: list[int] = []
    now = 0.0
    for at_s, index in [*sorted(arrivals), (math.inf, 0)]:
        now = _let_leave(played, pushed, now, at_s)
        if at_s < math.inf:
            now = at_s
            assert played.sender.push(frames[index % len(frames)], TICKS, now)
            pushed.append(index)
    return played


def _let_leave(played: Played, pushed: list[int], now: float, until_s: float) -> float:
    sender = played.sender
    while (due_s := sender.due_s(now)) is not None and max(due_s, now) <= until_s:
        now = max(due_s, now)
        packet = sender.poll(now)
        if packet is None:
            continue
        read = rtp.read(packet)
        played.left_s.append(now)
        played.indexes.append(pushed[sender.used - 1])
        played.packets.append(read.payload)
        played.timestamps.append(read.timestamp)
    return now


@dataclass(frozen=True)
class Stall:
    """Nothing passes for `length_s`; of what is held up only the last `kept_s` comes then."""

    at_s: float
    length_s: float
    kept_s: float = math.inf

    @property
    def end_s(self) -> float:
        return self.at_s + self.length_s


def live(seconds: float, stalls: Sequence[Stall], jitter_s: float = 0.0) -> list[tuple[float, int]]:
    """Arrivals of a source that speaks in real time, in order."""
    chance = random.Random(7)
    arrivals: list[tuple[float, int]] = []
    last_s = 0.0
    for index in range(int(seconds / FRAME_S)):
        at_s = index * FRAME_S + chance.random() * jitter_s
        held = next((stall for stall in stalls if stall.at_s <= at_s < stall.end_s), None)
        if held is not None and held.end_s - at_s > held.kept_s:
            continue
        last_s = max(last_s, at_s if held is None else held.end_s)
        arrivals.append((last_s, index))
    return arrivals
