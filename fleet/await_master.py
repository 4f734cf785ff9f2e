"""Lets a process that starts during a failover of its store wait for the new master."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from fleet.errors import NoMaster

# Sentinels notice a dead master after 5 s in our manifests and elect another in one or two more.
FAILOVER_S = 15.0
_PAUSE_S = 0.25

_Answer = TypeVar("_Answer")
_log = structlog.get_logger(__name__)


async def after_failover(
    ask: Callable[[], Awaitable[_Answer]], *, within_s: float = FAILOVER_S
) -> _Answer:
    """What `ask` gives once there is a master. Raises NoMaster after `within_s`, and its own.

    For the start alone: a running process lives without its store, and a store that is simply not
    there is said at once.
    """
    clock = asyncio.get_running_loop().time
    ends_at = clock() + within_s
    warned = False
    while True:
        try:
            return await ask()
        except NoMaster as error:
            if clock() >= ends_at:
                raise
            if not warned:
                _log.warning("waiting_for_a_master", reason=str(error), at_most_s=within_s)
                warned = True
        await asyncio.sleep(_PAUSE_S)
