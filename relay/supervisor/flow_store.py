"""Which transceiver last owned a client address: a cache that all relays of a cluster share.

A relay that lost its memory asks here; nothing else does, and whatever is missing comes back with
the caller's next STUN request. So entries may be lost, late or old: the epoch in each says whether
its node index still has the same owner.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from fleet import redis_link
from fleet.redis_link import RedisLink
from fleet.seal import MAX_AGE_MS, BrokenSeal, Keys, Seal, fresh
from relay.shared.nodes import FlowOwner

ANSWER_TIMEOUT_S = 0.1  # a packet is waiting

_ENTRY = struct.Struct("!HHIQ")  # node, epoch, time to live in s, Unix time in ms
_LONGEST_VALUE = 128  # characters; a sealed entry has 46


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

    The key is `trunkline:{cluster}:flow:` and 32 hex digits that stand for the address, so that who
    reads Redis learns no address of a caller. The value is sealed (`fleet.seal`): who writes to
    Redis can take entries away, but make none up and bring no old one back. A batch is one round
    trip. No command is repeated: whoever waits has something better to do (`relay`). `unreadable`
    counts values that are no entry of this fleet; they count as not known.
    """

    def __init__(
        self,
        url: str,
        cluster: int,
        keys: Keys,
        *,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        """Raise ValueError for a URL that cannot be read."""
        self._link = RedisLink(url, answer_timeout_s=answer_timeout_s, retries=0)
        self._prefix = f"trunkline:{{{cluster}}}:flow:"
        self._seal = Seal(keys, "flow", cluster)
        self._unix_s = unix_s
        self.unreadable = 0

    async def put(self, flows: Mapping[bytes, FlowOwner], ttl_s: int) -> None:
        """As `FlowStore.put`."""
        if not flows:
            return
        at_ms = self._now_ms()
        with self._link.failures_named():
            async with self._link.client.pipeline(transaction=False) as pipeline:
                for address, owner in flows.items():
                    entry = _ENTRY.pack(owner.node, owner.epoch, ttl_s, at_ms)
                    sealed = self._seal.seal(address, entry)
                    pipeline.set(self._names(address)[0], sealed, ex=ttl_s)
                await pipeline.execute()

    async def get(self, addresses: Sequence[bytes]) -> dict[bytes, FlowOwner]:
        """As `FlowStore.get`."""
        if not addresses:
            return {}
        # The name depends on the key that was current when it was written.
        names = [(address, name) for address in addresses for name in self._names(address)]
        with self._link.failures_named():
            async with self._link.client.pipeline(transaction=False) as pipeline:
                for _, name in names:
                    pipeline.getrange(name, 0, _LONGEST_VALUE)
                values = await pipeline.execute(raise_on_error=False)
            _raise_refusals(values)
        found: dict[bytes, FlowOwner] = {}
        for (address, _), value in zip(names, values, strict=True):
            owner = self._owner(address, value) if value != "" else None
            if owner and address not in found:
                found[address] = owner
        return found

    async def close(self) -> None:
        """As `FlowStore.close`."""
        await self._link.close()

    def _names(self, address: bytes) -> list[str]:
        return [self._prefix + name for name in self._seal.hidden_names(address)]

    def _owner(self, address: bytes, value: object) -> FlowOwner | None:
        try:
            node, epoch, ttl_s, at_ms = _ENTRY.unpack(self._seal.open(address, value))
            if not fresh(at_ms, self._now_ms(), ttl_s * 1000 + MAX_AGE_MS):
                raise BrokenSeal("an entry of another time")
        except (BrokenSeal, struct.error):
            self.unreadable += 1
            redis_link.counts["flows_unreadable"] += 1
            return None
        return FlowOwner(node, epoch)

    def _now_ms(self) -> int:
        return int(self._unix_s() * 1000)


def _raise_refusals(values: Sequence[object]) -> None:
    """Raise what is wrong with Redis. A key with something else than a text is only that key's."""
    for value in values:
        if isinstance(value, Exception) and not str(value).startswith("WRONGTYPE"):
            raise value


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
