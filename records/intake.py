"""The reading end of the stream of events: one consumer of the group that all recorders are.

    mine      what this consumer was given and has not finished: after a failure
    orphans   what another consumer was given and has not finished for CLAIM_AFTER_MS: it is gone
    fresh     what nobody was given yet

An entry is finished when its events are stored: then it leaves the stream, and its writer is told.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from fleet.record.stream import STORED_KEPT_S, StreamKeys
from fleet.redis_link import RedisLink

GROUP = "recorders"
MAX_ENTRIES = 64  # at once: 7 MB in the worst case
WAIT_MS = 500
CLAIM_AFTER_MS = 15_000  # longer than a batch takes to store; a batch that comes twice harms nobody
# An entry that another recorder has taken out meanwhile does not count twice.
FINISH = """
for at = 1, #ARGV, 2 do
  redis.call('XACK', KEYS[1], 'recorders', ARGV[at])
  if redis.call('XDEL', KEYS[1], ARGV[at]) == 1 then
    redis.call('DECRBY', KEYS[2], ARGV[at + 1])
  end
end
return redis.call('XLEN', KEYS[1])
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the stream, as it stands there."""

    id: str
    writer: str
    number: str
    sealed: str = field(repr=False)


class Intake:
    """A consumer in the Redis at `url`. Every method raises StoreUnavailable.

    `backlog` is how many entries wait in the stream, as of the last `finish`.
    """

    def __init__(
        self,
        url: str,
        cluster: int,
        *,
        wait_ms: int = WAIT_MS,
        claim_after_ms: int = CLAIM_AFTER_MS,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        """Raise ValueError for a URL that cannot be read."""
        self._link = RedisLink(url, retries=0)
        self._redis: Any = self._link.client
        self._keys = StreamKeys(cluster)
        self._name = secrets.token_hex(8)
        self._wait_ms = wait_ms
        self._claim_after_ms = claim_after_ms
        self._max_entries = max_entries
        self._finish = self._redis.register_script(FINISH)
        self._mine_first = True
        self._grouped = False
        self.backlog = 0

    async def take(self) -> list[Entry]:
        """Entries to store, perhaps none after waiting a moment."""
        with self._link.failures_named():
            await self._join()
            try:
                return await self._take()
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                self._grouped = False  # Redis has forgotten everything: at the next turn anew
                return []

    async def finish(self, stored: Sequence[Entry], dropped: Sequence[Entry] = ()) -> None:
        """Take entries out of the stream, and tell the writers of those that are stored."""
        arguments: list[str | int] = []
        for entry in (*stored, *dropped):
            arguments += (entry.id, len(entry.sealed))
        with self._link.failures_named():
            async with self._redis.pipeline(transaction=False) as pipe:
                for entry in stored:
                    told = self._keys.stored(entry.writer)
                    pipe.rpush(told, entry.number)
                    pipe.expire(told, STORED_KEPT_S)
                await pipe.execute()
            keys = [self._keys.stream, self._keys.size]
            self.backlog = int(await self._finish(keys=keys, args=arguments))

    def failed(self) -> None:
        """Something went wrong: begin again with what was given to this consumer."""
        self._mine_first = True

    async def close(self) -> None:
        """Let go of all connections."""
        await self._link.close()

    async def _join(self) -> None:
        if self._grouped:
            return
        try:
            await self._redis.xgroup_create(self._keys.stream, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._grouped = True

    async def _take(self) -> list[Entry]:
        if self._mine_first:
            mine = await self._read("0")
            if mine:
                return mine
            self._mine_first = False
        orphans = await self._redis.xautoclaim(
            *(self._keys.stream, GROUP, self._name, self._claim_after_ms),
            count=self._max_entries,
        )
        claimed = _entries(orphans[1])
        return claimed or await self._read(">")

    async def _read(self, after: str) -> list[Entry]:
        found = await self._redis.xreadgroup(
            *(GROUP, self._name, {self._keys.stream: after}),
            count=self._max_entries,
            block=self._wait_ms,
        )
        return [entry for _, entries in _pairs(found) for entry in _entries(entries)]


def _pairs(found: Any) -> list[tuple[Any, Any]]:
    """RESP 2 gives a list of streams, RESP 3 a map."""
    return list(found.items()) if isinstance(found, dict) else list(found or ())


def _entries(found: Any) -> list[Entry]:
    """Entries that are there still; one that was deleted has no fields."""
    return [
        Entry(str(id_), str(fields.get("w")), str(fields.get("n")), str(fields.get("b")))
        for id_, fields in found
        if fields
    ]
