"""What checkpoints cost: bytes that go to Redis for a call, beyond those that go there anyway.

Redis counts what it reads. The same fleet is watched without calls and with them, so what leases
and relays write is not in it, but for what relays write of flows.
"""

from __future__ import annotations

import asyncio
from typing import TextIO

from redis.asyncio import Redis

from loadtest.benchmark import Check, Result
from loadtest.stand import Stand
from loadtest.survive.faults import SHAPE, complete
from loadtest.survive.trial import Callers

NAME = "checkpoints"
WATCHED_S = 10.0
NO_SWITCH = "was not measured: nothing turns checkpoints off, and nobody counts their CPU time"


async def weigh(calls: int, log: TextIO | None = None) -> Result:
    """Measure it. Raises StartupError, CallFailedError."""
    async with Stand(SHAPE, log) as stand:
        await complete(stand)
        url = stand.setting("transceiver-1", "TRUNKLINE_REDIS_URL")
        async with Redis.from_url(url) as redis:
            idle = await _bytes_a_second(redis)
            async with Callers(stand, calls):
                busy = await _bytes_a_second(redis)
    return figures(idle, busy, calls)


def figures(idle: float, busy: float, calls: int) -> Result:
    """From bytes a second without calls and with them. What nobody can measure yet fails."""
    each = round((busy - idle) / calls)
    absent = ("checkpoint_cpu_share", "capacity_ratio_with_checkpoints")
    return Result(
        figures={"checkpoint_bytes_per_call_s": each, **dict.fromkeys(absent)},
        checks=[
            Check("checkpoint_bytes_per_call_s", each > 0, f"{each}; 0 means that none is written"),
            *(Check(name, passed=False, detail=NO_SWITCH) for name in absent),
        ],
    )


async def _bytes_a_second(redis: Redis) -> float:
    before = await _read_bytes(redis)
    await asyncio.sleep(WATCHED_S)
    return (await _read_bytes(redis) - before) / WATCHED_S


async def _read_bytes(redis: Redis) -> int:
    return int((await redis.info("stats"))["total_net_input_bytes"])
