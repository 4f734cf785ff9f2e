"""Compares this machine's clock with the store's at the start, and warns once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import structlog

# The trunk takes datagrams that are 30 s old at most (`wire.replay`); a clock that is kept right
# by NTP is within milliseconds, so this much is never an accident.
MOST_SKEW_S = 2.0

log = structlog.get_logger(__name__)


class Clocked(Protocol):
    """What has a clock of its own: the store."""

    async def unix_s(self) -> float:
        """Its time. May raise StoreUnavailable."""


async def warn_of_skew(store: Clocked, unix_s: Callable[[], float] = time.time) -> float:
    """Seconds that this machine is ahead of the store; logs a warning when it is too many.

    A warning and no refusal to start: it may be the store's machine that is wrong. Raises
    StoreUnavailable.
    """
    began_s = unix_s()
    theirs_s = await store.unix_s()
    # The store looked at its clock somewhere between the question and the answer.
    skew_s = (began_s + unix_s()) / 2 - theirs_s
    if abs(skew_s) > MOST_SKEW_S:
        log.warning(
            "clock_skew",
            ahead_of_redis_s=round(skew_s, 1),
            cure="run an NTP client here and on Redis' machine; relays refuse datagrams of "
            "transceivers whose clock is 30 s off",
        )
    return skew_s
