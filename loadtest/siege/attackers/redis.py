"""Somebody who can write to Redis: odd values in every key there is, and on every channel."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

from loadtest.siege.ground import Ground

PACE_S = 0.05
_DEEP = "[" * 3000
_ODD = (
    "[1]",
    _DEEP,
    "null",
    "9" * 5000,
    json.dumps({"index": 0, "epoch": 0, "trunk": "203.0.113.1:9", "name": "x", "live": True}),
    "1." + "A" * 3000,
    "\ud800",
    "x" * 100_000,
)


async def writer(ground: Ground) -> None:
    """Fields of hashes, texts and messages are overwritten in turn, and keys of our own are put
    beside them; a lease that vanished is claimed again by its owner."""
    async with Redis.from_url(ground.map.redis_url, encoding_errors="replace") as redis:
        values = itertools.cycle(_ODD)
        while True:
            with suppress(RedisError, OSError):
                for key in await redis.keys("trunkline:*"):
                    await _spoil(redis, key, next(values))
                    ground.done["writer in Redis"] += 1
                for channel in await redis.pubsub_channels():
                    await redis.publish(channel, next(values))
            await asyncio.sleep(PACE_S)


async def _spoil(redis: Redis, key: bytes | str, value: str) -> None:
    match await redis.type(key):
        case b"hash":
            for field in (await redis.hkeys(key))[:20]:
                await redis.hset(key, field, value)
            await redis.hset(key, "not a number", value)
        case b"string":
            await redis.set(key, value, keepttl=True)
        case b"zset":
            await redis.zadd(key, {value[:200]: 1e308})
