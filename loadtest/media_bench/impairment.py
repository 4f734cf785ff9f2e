"""What a network does to a caller's packets, decided packet by packet from a seed. Pure.

none   a packet arrives when it was sent
loss   independent, or in bursts (Gilbert: `burst` packets long on average)
jitter an extra delay, uniform from 0 to `jitter_s`; packets overtake each other
reorder a share of packets comes `REORDER_S` later, behind its successors
duplicate a share comes twice
drops  packets that are lost by number, for the one-packet case
"""

from __future__ import annotations

import random
from dataclasses import dataclass

REORDER_S = 0.030
DUPLICATE_S = 0.005


@dataclass(frozen=True)
class Impairment:
    """One condition. Shares are 0–1, times in seconds."""

    name: str
    loss: float = 0.0
    burst: float = 1.0
    jitter_s: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    drops: frozenset[int] = frozenset()


class Network:
    """The condition as it meets one caller's packets, in the order they are sent."""

    def __init__(self, impairment: Impairment, seed: int) -> None:
        self._impairment = impairment
        self._random = random.Random(seed)
        self._losing = False

    def delays_s(self, number: int) -> tuple[float, ...]:
        """How long after it was sent the packet arrives: nothing when lost, twice if doubled."""
        impairment = self._impairment
        if number in impairment.drops or self._lost():
            return ()
        delay_s = self._random.uniform(0, impairment.jitter_s)
        if self._random.random() < impairment.reorder:
            delay_s += REORDER_S
        if self._random.random() < impairment.duplicate:
            return delay_s, delay_s + DUPLICATE_S
        return (delay_s,)

    def _lost(self) -> bool:
        """Step the two states; the share of lost packets is `loss` whatever the burst length."""
        loss, end = self._impairment.loss, 1 / self._impairment.burst
        if self._impairment.burst <= 1:
            return self._random.random() < loss
        begin = end * loss / (1 - loss) if loss < 1 else 1.0
        self._losing = self._random.random() < (1 - end if self._losing else begin)
        return self._losing
