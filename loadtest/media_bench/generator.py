"""Sends prepared packets on exact grids and keeps what comes back, in one thread without a loop.

A round is 20 ms and has 20 slots of 1 ms; every caller has its slot, chosen at random, which is its
phase. In a slot the packets of its callers leave as one batch, then what has come is kept, then
the thread sleeps. Nothing is parsed, protected or allocated per packet while it runs.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

import numpy as np

from loadtest.callers.timed_socket import Key, Record
from loadtest.media_bench.impairment import Network
from loadtest.media_bench.lateness import Times
from loadtest.media_bench.links import Frame, Link

ROUND_S = 0.020
SLOTS = 20
SLOT_S = ROUND_S / SLOTS
LEAD_S = 0.02
DRAIN_S = 0.4
"""How long after the last frame an echo may come: more than stock aiortc's jitter buffer holds."""

LATE_ROUNDS = 10
"""What a network may delay a frame beyond the end of the schedule."""
FIRST_MEDIA_BYTE = 128  # RFC 7983 section 7

Schedule = Sequence[Sequence[Sequence[Frame[Key]]]]
"""Frames by round and slot."""


@dataclass
class Traffic(Generic[Key]):
    """What a run did. `scheduled_s` and `sent_s` are Unix times by round and slot."""

    scheduled_s: Times
    sent_s: Times
    records: list[Record[Key]] = field(default_factory=list)

    def send_lateness_ms(self, percent: float) -> float:
        """How late the generator itself was: above 1–2 ms its core was short of time."""
        late = self.sent_s - self.scheduled_s
        return round(1000 * float(np.percentile(late, percent, method="higher")), 3)


def impaired(schedule: Schedule[Key], network_of: Mapping[Key, Network]) -> Schedule[Key]:
    """Return the schedule as it comes out of a network each: frames moved, missing, doubled."""
    slots: list[list[Frame[Key]]] = [[] for _ in range(SLOTS * (len(schedule) + LATE_ROUNDS))]
    for number, round_slots in enumerate(schedule):
        for slot, frames in enumerate(round_slots):
            for key, packet in frames:
                is_media = packet[0] >= FIRST_MEDIA_BYTE
                delays_s = network_of[key].delays_s(number) if is_media else (0.0,)
                for delay_s in delays_s:
                    at = number * SLOTS + slot + round(delay_s / SLOT_S)
                    slots[min(at, len(slots) - 1)].append((key, packet))
    return [slots[start : start + SLOTS] for start in range(0, len(slots), SLOTS)]


def play(link: Link[Key], schedule: Schedule[Key], drain_s: float = DRAIN_S) -> Traffic[Key]:
    """Send the schedule and wait for the last echoes. Blocks; run it in a thread."""
    gc.collect()  # before the grid begins: it takes a while over so many packets
    gc.disable()
    traffic = Traffic[Key](_grid(len(schedule)), np.zeros((len(schedule), SLOTS)))
    try:
        _send(link, schedule, traffic)
        _listen(link, traffic, drain_s)
    finally:
        gc.enable()
    return traffic


def _send(link: Link[Key], schedule: Schedule[Key], traffic: Traffic[Key]) -> None:
    clock, sent_s, records = time.time, traffic.sent_s, traffic.records
    for number, slots in enumerate(schedule):
        due_s = traffic.scheduled_s[number].tolist()
        for slot, frames in enumerate(slots):
            ahead_s = due_s[slot] - clock()
            if ahead_s > 0:
                time.sleep(ahead_s)
            sent_s[number, slot] = clock()
            link.send(frames)
            link.drain(frames, records)


def _listen(link: Link[Key], traffic: Traffic[Key], drain_s: float) -> None:
    ends_at_s = time.time() + drain_s
    while time.time() < ends_at_s:
        time.sleep(SLOT_S)
        link.drain_all(traffic.records)


def _grid(rounds: int) -> Times:
    start_s = time.time() + LEAD_S
    numbers = np.arange(rounds)[:, None] * ROUND_S + np.arange(SLOTS)[None, :] * SLOT_S
    grid: Times = start_s + numbers
    return grid
