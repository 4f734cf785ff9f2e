"""What a network does to packets: loses, duplicates, delays and so reorders them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Weather:
    """Shares of packets, and seconds."""

    loss: float
    duplicates: float
    least_delay_s: float
    most_delay_s: float


CALM = Weather(0, 0, 0.001, 0.005)
CALLERS = Weather(0.02, 0.02, 0.005, 0.040)  # mobile networks on a good day
TRUNK = Weather(0.002, 0.005, 0.0002, 0.002)  # a data centre's
STORM = Weather(0.3, 0.3, 0.005, 0.4)


class Network:
    """Carries packets in virtual time, through the weather of the moment."""

    def __init__(self, chance: random.Random, weather: Weather) -> None:
        self._chance = chance
        self.weather = weather

    def carry(self, deliver: Callable[..., None], *packet: object) -> None:
        """Call `deliver` with the packet as often and as late as it arrives."""
        chance, weather = self._chance, self.weather
        if chance.random() < weather.loss:
            return
        for _ in range(2 if chance.random() < weather.duplicates else 1):
            delay_s = chance.uniform(weather.least_delay_s, weather.most_delay_s)
            asyncio.get_running_loop().call_later(delay_s, deliver, *packet)
