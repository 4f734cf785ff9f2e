"""Where checkpoints of calls are: in Redis, by the owner of the call, each for half a minute.

    owner   ── put ──▶ calls of the owner ── take ──▶ taker ── keep ──▶ calls of the taker
                                          ◀── give_back ──┘

What is put is opaque here, and sealed by whoever puts it (`transceiver.recovery`). A call is taken
for `TAKE_MS` and then has to be kept: so it has one owner at most whatever fails in between, and
one that is taken by a process which dies over it is there for others a moment later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fleet.calls import scripts
from fleet.calls.owner import Owner
from fleet.directory.redis_store import directory_key
from fleet.redis_link import RedisLink

ANSWER_TIMEOUT_S = 0.5  # who waits longer has newer checkpoints by then
TTL_MS = 35_000  # a checkpoint is good for 30 s (`transceiver.recovery.checkpoint`)
TAKE_MS = 2_000
LARGEST_TEXT = 512 * 1024  # characters


class Stored(NamedTuple):
    """A call in the store: two sealed texts, "" for one that is not there or left as it is."""

    call_id: str
    state: str
    session: str


class RedisCheckpoints:
    """The checkpoints of one cluster (0 to 4095) in the Redis at `url`.

    No command is repeated: a newer checkpoint comes soon. Every method raises StoreUnavailable.
    """

    def __init__(
        self,
        url: str,
        cluster: int,
        *,
        ttl_ms: int = TTL_MS,
        take_ms: int = TAKE_MS,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        """Raise ValueError for a URL that cannot be read."""
        self._link = RedisLink(url, answer_timeout_s=answer_timeout_s, retries=0)
        self._prefix = f"trunkline:{{{cluster}}}:calls:"
        self._epochs = directory_key(cluster, "epochs")
        self._ttl_ms, self._take_ms = ttl_ms, take_ms
        self._put = self._link.client.register_script(scripts.PUT)
        self._take = self._link.client.register_script(scripts.TAKE)
        self._keep = self._link.client.register_script(scripts.KEEP)
        self._give_back = self._link.client.register_script(scripts.GIVE_BACK)

    async def put(
        self, owner: Owner, calls: Sequence[Stored], ended: Sequence[str] = ()
    ) -> list[str]:
        """Replace the checkpoints of these calls, remove those of calls that ended.

        Returns the calls whose session is not there, and has to be put. Nothing is put for an owner
        that was fenced.
        """
        arguments: list[str | int] = [*owner, self._ttl_ms, len(ended), *ended, *_flat(calls)]
        with self._link.failures_named():
            missing = await self._put(keys=[self._calls(owner), self._epochs], args=arguments)
            return [str(call) for call in missing]

    async def take(self, lost: Owner, taker: Owner, most: int) -> list[Stored]:
        """Some calls of an owner that was fenced, for `keep` or `give_back` within `TAKE_MS`."""
        limits = self._take_ms, most, LARGEST_TEXT
        arguments: list[str | int] = [*lost, str(taker), *limits]
        with self._link.failures_named():
            flat = await self._take(keys=[*self._of_lost(lost), self._epochs], args=arguments)
            texts = [str(text) for text in flat]
        return [Stored(*row) for row in zip(*[iter(texts)] * 3, strict=False)]

    async def keep(self, lost: Owner, taker: Owner, calls: Sequence[Stored]) -> list[str]:
        """The calls are the taker's from now on. Returns those: another may have been faster."""
        keys = [*self._of_lost(lost), self._calls(taker)]
        with self._link.failures_named():
            kept = await self._keep(keys=keys, args=[str(taker), self._ttl_ms, *_flat(calls)])
            return [str(call) for call in kept]

    async def give_back(
        self, lost: Owner, taker: Owner, for_others: Sequence[str], for_nobody: Sequence[str] = ()
    ) -> None:
        """Let others have these calls at once, and nobody have those."""
        arguments: list[str | int] = [str(taker), len(for_others), *for_others, *for_nobody]
        with self._link.failures_named():
            await self._give_back(keys=self._of_lost(lost), args=arguments)

    async def close(self) -> None:
        """Let go of connections."""
        await self._link.close()

    def _calls(self, owner: Owner) -> str:
        return f"{self._prefix}{owner}"

    def _of_lost(self, lost: Owner) -> list[str]:
        return [self._calls(lost), f"{self._calls(lost)}:taken"]


def _flat(calls: Iterable[Stored]) -> list[str]:
    return [text for call in calls for text in call]
