"""New callers: how many come now, and what each does until it connects or gives up."""

from __future__ import annotations

import asyncio
import random
import time

import aiohttp

from loadtest.callers.dtls import Identity
from loadtest.callers.port import Later
from loadtest.errors import CallFailedError, CallRefusedError
from loadtest.live.call import LiveCall, place
from loadtest.live.order import Mix, Order
from loadtest.live.tallies import Tallies
from loadtest.target import Target

ROUND_SLOTS = 20
"""Slots of a 20 ms round; a call has one of them."""
CHECK_ROUNDS = 125
"""A connectivity check every 2.5 s, as Chrome sends it on a pair that works."""
MAX_PLACING = 32
DEFAULT_RETRY_S = 1.0


class Newcomers:
    """Places the calls of one order. Refusals and failures are tallied."""

    def __init__(self, order: Order, chance: random.Random, later: Later, tallies: Tallies) -> None:
        self._order = order
        self._random = chance
        self._later = later
        self._tallies = tallies
        self._targets = [Target(url, order.api_key) for url in order.urls]
        self._identity = Identity.make()
        self._next_arrival_s = 0.0

    def due(self, second: float, missing: int, placing: int) -> int:
        """How many callers come now: as many as are missing, or as chance has it."""
        rate = self._order.arrivals_per_s
        if rate is None:
            return min(missing, self._room(second, placing))
        count = 0
        while self._next_arrival_s <= second:
            self._next_arrival_s += self._random.expovariate(rate / self._order.processes)
            count += 1
        return min(count, max(0, missing))

    async def come(self, session: aiohttp.ClientSession) -> LiveCall | None:
        """One caller: tries until it is in, out of patience, or failed for another reason."""
        mix = self._choose_mix()
        gives_up_s = time.time() + self._order.retry.patience_s
        while True:
            try:
                return await self._try(session, mix)
            except CallRefusedError as refused:
                tally = self._tallies.at()
                tally.refused += 1
                tally.without_retry_after += refused.retry_after_s is None
                wait_s = self._wait_s(refused)
                if wait_s is None or time.time() + wait_s > gives_up_s:
                    await self._given_up(refused)
                    return None
                await asyncio.sleep(wait_s)
            except CallFailedError as error:
                await self._given_up(error)
                return None

    async def _given_up(self, error: CallFailedError) -> None:
        self._tallies.at().failures[error.reason] += 1
        await asyncio.sleep(DEFAULT_RETRY_S)

    def _room(self, second: float, placing: int) -> int:
        """Callers who wait to be let in do not keep others from trying; handshakes are bounded."""
        if self._order.retry.policy == "at_once":
            return self._order.calls_at(second)
        return MAX_PLACING - placing

    def _wait_s(self, refused: CallRefusedError) -> float | None:
        match self._order.retry.policy:
            case "at_once":
                return 0.0
            case "never":
                return None
            case _:
                return refused.retry_after_s or DEFAULT_RETRY_S

    async def _try(self, session: aiohttp.ClientSession, mix: Mix) -> LiveCall:
        """Ask one transceiver, then the others, as a load balancer does that looks at readiness."""
        targets = self._random.sample(self._targets, len(self._targets))
        for number, target in enumerate(targets, 1):
            try:
                return await place(
                    session,
                    target,
                    self._identity,
                    mix,
                    self._later,
                    slot=self._random.randrange(ROUND_SLOTS),
                    phase=self._random.randrange(CHECK_ROUNDS),
                    seed=self._random.getrandbits(30),
                )
            except CallFailedError as error:
                away = isinstance(error, CallRefusedError) or error.reason == "http_error"
                if not away or number == len(targets):
                    raise
        raise CallFailedError("no_target")

    def _choose_mix(self) -> Mix:
        mixes = self._order.mixes
        return self._random.choices(mixes, [mix.share for mix in mixes])[0]
