"""Which transceiver owned a client address last: a cache all relays of a cluster share.

A relay that lost its memory asks here; nothing else does, and whatever is missing comes back with
the caller's next STUN request. So entries may be lost, late or old: the epoch in each says whether
its node index still has the same owner.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from fleet.redis_link import RedisLink
from wire.token import MAX_EPOCH, MAX_NODE

ANSWER_TIMEOUT_S = 0.1  # a packet is waiting

_VALUE = re.compile(r"([0-9]{1,5}):([0-9]{1,5})")


class FlowOwner(NamedTuple):
    """A node index and its epoch, 0–65535 each."""

    node: int
    epoch: int


class FlowStore(Protocol):
    """Owners by 18-byte client address (`wire.address`). Methods may raise StoreUnavailable."""

    async def put(self, flows: Mapping[bytes, FlowOwner], ttl_s: int) -> None:
        """Remember these for `ttl_s` seconds from now; each replaces what was known before."""

    async def get(self, addresses: Sequence[bytes]) -> dict[bytes, FlowOwner]:
        """The owners of those of the addresses that are known."""

    async def close(self) -> None:
        """Let go of connections."""


class RedisFlowStore:
    """A `FlowStore` in Redis: one key an address, so that each expires by itself.

    The key is `trunkline:{cluster}:flow:` and 36 hex digits, the value `node:epoch`. A batch is one
    round trip. No command is repeated: whoever waits has something better to do (`relay`).
    `unreadable` counts values that this version cannot read; they count as not known.
    """

    def __init__(
        self, url: str, cluster: int, *, answer_timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        """Raise ValueError for a URL that cannot be read."""
        self._link = RedisLink(url, answer_timeout_s=answer_timeout_s, retries=0)
        self._prefix = f"trunkline:{{{cluster}}}:flow:"
        self.unreadable = 0

    async def put(self, flows: Mapping[bytes, FlowOwner], ttl_s: int) -> None:
        """As `FlowStore.put`."""
        if not flows:
            return
        with self._link.failures_named():
            async with self._link.client.pipeline(transaction=False) as pipeline:
                for address, owner in flows.items():
                    pipeline.set(self._key(address), f"{owner.node}:{owner.epoch}", ex=ttl_s)
                await pipeline.execute()

    async def get(self, addresses: Sequence[bytes]) -> dict[bytes, FlowOwner]:
        """As `FlowStore.get`."""
        if not addresses:
            return {}
        with self._link.failures_named():
            values = await self._link.client.mget([self._key(a) for a in addresses])
        owners = zip(addresses, map(self._owner, values), strict=True)
        return {address: owner for address, owner in owners if owner}

    async def close(self) -> None:
        """As `FlowStore.close`."""
        await self._link.close()

    def _key(self, address: bytes) -> str:
        return self._prefix + address.hex()

    def _owner(self, value: str | bytes | None) -> FlowOwner | None:
        if value is None:
            return None
        found = _VALUE.fullmatch(value) if isinstance(value, str) else None
        owner = FlowOwner(int(found[1]), int(found[2])) if found else None
        if owner and owner.node <= MAX_NODE and owner.epoch <= MAX_EPOCH:
            return owner
        self.unreadable += 1
        return None


class MemoryFlowStore:
    """A `FlowStore` within one process. Keeps the `capacity` addresses written last."""

    def __init__(
        self, *, now: Callable[[], float] = time.monotonic, capacity: int = 100_000
    ) -> None:
        self._now = now
        self._capacity = capacity
        self._entries: dict[bytes, tuple[FlowOwner, float]] = {}

    async def put(self, flows: Mapping[bytes, FlowOwner], ttl_s: int) -> None:
        """As `FlowStore.put`."""
        expires_at = self._now() + ttl_s
        for address, owner in flows.items():
            self._entries.pop(address, None)  # so that the oldest write stands first
            self._entries[address] = owner, expires_at
            if len(self._entries) > self._capacity:
                del self._entries[next(iter(self._entries))]

    async def get(self, addresses: Sequence[bytes]) -> dict[bytes, FlowOwner]:
        """As `FlowStore.get`."""
        now = self._now()
        known = ((address, self._entries.get(address)) for address in addresses)
        return {address: entry[0] for address, entry in known if entry and entry[1] > now}

    async def close(self) -> None:
        """As `FlowStore.close`; there is nothing to let go of."""
