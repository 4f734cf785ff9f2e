"""What a recording says of one fault: the gap, whether the call lives, what came too late. Pure.

A recording is the packets of a call in order of arrival: Unix time, and the number of the packet by
its RTP sequence. The other side speaks without a pause, so every gap is somebody's doing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from loadtest.stall.speech import FRAME_S

LIVE_WITHIN_S = 1.0
"""A call lives when something was heard in the last second of the time that it was watched."""
REORDERED = 25
"""Packets: one that is further behind was not overtaken on the way, it was sent by the past."""


class Packet(NamedTuple):
    """A packet that was authentic."""

    came_s: float
    number: int
    payload: bytes = b""


Recording = Sequence[Packet]


def between(heard: Recording, from_s: float, to_s: float) -> Recording:
    """What came from a moment on and before another."""
    first = bisect_left(heard, from_s, key=_came)
    return heard[first : bisect_left(heard, to_s, key=_came)]


def gap_ms(heard: Recording, from_s: float, to_s: float) -> float:
    """The longest time without a packet, less the time that one packet lasts."""
    first = bisect_left(heard, from_s, key=_came)
    before = [heard[first - 1].came_s] if first else [from_s]
    came = [*before, *(packet.came_s for packet in between(heard, from_s, to_s)), to_s]
    longest_s = max(later - earlier for earlier, later in pairwise(came))
    return max(0.0, 1000 * (longest_s - FRAME_S))


def lives(heard: Recording, at_s: float) -> bool:
    """Whether the call was heard just before a moment."""
    return bool(between(heard, at_s - LIVE_WITHIN_S, at_s))


def stale(heard: Recording, after_s: float) -> int:
    """Packets that came after a moment and are older than what had been heard long before."""
    first = bisect_left(heard, after_s, key=_came)
    highest = max((packet.number for packet in heard[:first]), default=0)
    count = 0
    for packet in heard[first:]:
        count += packet.number < highest - REORDERED
        highest = max(highest, packet.number)
    return count


def _came(packet: Packet) -> float:
    return packet.came_s
