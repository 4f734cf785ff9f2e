"""Who may be dead: what relays and supervisors publish, and transceivers listen to.

    relay's supervisor   "node n, epoch e has been silent for 250 ms"   ask a witness
    Pod's supervisor     "the process of node n, epoch e has died"      it saw the exit

It goes over a channel of Redis that others may write to, so every word is sealed (`fleet.seal`)
with its time. Publishing and hearing may both fail: a suspicion that is lost is said again while
its reason lasts, and a lease that ends is the last word in any case (`fleet.directory`).
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.asyncio.client import PubSub
from redis.exceptions import TimeoutError as RedisTimeoutError

from fleet import redis_link
from fleet.redis_link import ANSWER_TIMEOUT_S, RedisLink
from fleet.seal import BrokenSeal, Keys, Seal, fresh
from wire.token import MAX_EPOCH, MAX_NODE

PURPOSE = "suspicion"
MAX_AGE_MS = 5_000  # what is older was about another moment; clocks may differ by more (`fresh`)
QUIET_S = 5.0  # after so long without a word Redis is asked whether it is still there


class Cause(StrEnum):
    """Why somebody thinks that a process is gone."""

    SILENT = "silent"  # nothing was heard of it; another must confirm that
    DIED = "died"  # its parent saw it end


@dataclass(frozen=True, slots=True)
class Suspicion:
    """The process that holds, or held, this node index with this epoch (0–65535 each)."""

    node: int
    epoch: int
    cause: Cause


class _Word(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    node: int = Field(ge=0, le=MAX_NODE)
    epoch: int = Field(ge=0, le=MAX_EPOCH)
    cause: str
    at_ms: int


class SuspicionChannel:
    """The channel of one cluster in the Redis at `url`. Methods may raise StoreUnavailable.

    `unreadable` counts what was heard and was not said by this fleet, or not now.
    """

    def __init__(
        self, url: str, cluster: int, keys: Keys, *, unix_s: Callable[[], float] = time.time
    ) -> None:
        """Raise ValueError for a URL that cannot be read."""
        self._link = RedisLink(url)
        self._seal = Seal(keys, PURPOSE, cluster)
        self._channel = f"trunkline:{{{cluster}}}:suspicion"
        self._unix_s = unix_s
        self.unreadable = 0

    async def publish(self, suspicion: Suspicion) -> None:
        """Say it to whoever listens now."""
        word = {
            "node": suspicion.node,
            "epoch": suspicion.epoch,
            "cause": suspicion.cause,
            "at_ms": self._now_ms(),
        }
        sealed = self._seal.seal(PURPOSE.encode(), json.dumps(word).encode())
        with self._link.failures_named():
            await self._link.client.publish(self._channel, sealed)

    async def listen(self) -> AsyncGenerator[Suspicion, None]:
        """What is said from now on. Close it (`contextlib.aclosing`) when you stop before it does.

        It never ends by itself; it raises StoreUnavailable when Redis goes away.
        """
        pubsub = self._link.client.pubsub()
        try:
            with self._link.failures_named():
                await self._subscribe(pubsub)
            async with aclosing(self._words(pubsub)) as words:
                async for word in words:
                    yield word
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Let go of connections."""
        await self._link.close()

    async def _subscribe(self, pubsub: PubSub) -> None:
        await pubsub.subscribe(self._channel)
        if await pubsub.get_message(timeout=ANSWER_TIMEOUT_S) is None:
            raise RedisTimeoutError("no answer to SUBSCRIBE")

    async def _words(self, pubsub: PubSub) -> AsyncGenerator[Suspicion, None]:
        while True:
            with self._link.failures_named():
                message = await pubsub.get_message(timeout=QUIET_S) or await self._asked(pubsub)
            if message.get("type") != "message":
                continue
            if suspicion := self._read(message.get("data")):
                yield suspicion

    async def _asked(self, pubsub: PubSub) -> dict[str, object]:
        """What comes when Redis is asked for a sign of life: that, or a word before it."""
        await pubsub.ping()
        message: dict[str, object] | None = await pubsub.get_message(timeout=ANSWER_TIMEOUT_S)
        if message is None:
            raise RedisTimeoutError("no answer to PING")
        return message

    def _read(self, sealed: object) -> Suspicion | None:
        try:
            word = _Word.model_validate_json(self._seal.open(PURPOSE.encode(), sealed))
            if not fresh(word.at_ms, self._now_ms(), MAX_AGE_MS):
                raise BrokenSeal("a word of another time")
            return Suspicion(word.node, word.epoch, Cause(word.cause))
        except (BrokenSeal, ValidationError, ValueError):
            self.unreadable += 1
            redis_link.counts["suspicions_unreadable"] += 1
            return None

    def _now_ms(self) -> int:
        return int(self._unix_s() * 1000)
