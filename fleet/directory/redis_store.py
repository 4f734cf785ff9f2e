"""The store of a real fleet: leases in Redis, changes by pub/sub.

Every key begins `trunkline:{cluster}:`. The braces are literal: they put all keys of a cluster in
one slot of a Redis Cluster, as scripts over several keys need.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from redis.asyncio.client import PubSub
from redis.exceptions import TimeoutError as RedisTimeoutError

from fleet.address import Address
from fleet.directory import scripts as redis_scripts
from fleet.directory.directory import Load, Node, Snapshot, check_claim
from fleet.directory.store import LEASE_S, SNAPSHOT_INTERVAL_S, TOKEN_BYTES, Lease
from fleet.errors import DirectoryFull, LeaseLost
from fleet.redis_link import ANSWER_TIMEOUT_S, RedisLink
from wire.token import MAX_NODE

_KEY_NAMES = ("holders", "records", "epochs", "expiry", "loads")


class RedisStore:
    """A `Store` in the Redis at `url`, for one cluster (0 to 4095).

    The connection is made by the first call. `unreadable` counts directory entries that this
    version cannot read; they are left out.
    """

    def __init__(
        self,
        url: str,
        cluster: int,
        *,
        lease_s: float = LEASE_S,
        snapshot_interval_s: float = SNAPSHOT_INTERVAL_S,
        max_nodes: int = MAX_NODE + 1,
    ) -> None:
        """Raise ValueError for a URL that redis-py cannot read; its text never quotes the URL."""
        self._link = RedisLink(url)
        self._redis = self._link.client
        prefix = f"trunkline:{{{cluster}}}:directory:"
        self._keys = [prefix + name for name in _KEY_NAMES]
        self._channel = prefix + "changes"
        self._lease_ms = round(lease_s * 1000)
        self._snapshot_interval_s = snapshot_interval_s
        self._max_nodes = max_nodes
        self._claim = self._redis.register_script(redis_scripts.CLAIM)
        self._renew = self._redis.register_script(redis_scripts.RENEW)
        self._release = self._redis.register_script(redis_scripts.RELEASE)
        self._snapshot = self._redis.register_script(redis_scripts.SNAPSHOT)
        self.unreadable = 0

    async def claim(
        self,
        name: str,
        trunk: Address,
        admin: Address | None = None,
        http: Address | None = None,
    ) -> Lease:
        """As `Store.claim`."""
        check_claim(name, trunk)
        token = secrets.token_hex(TOKEN_BYTES)
        index, epoch = await self._run(
            self._claim,
            token,
            _record(name, trunk, draining=False, admin=admin, http=http),
            self._lease_ms,
            self._max_nodes,
            secrets.randbits(16),
        )
        if index < 0:
            raise DirectoryFull(f"all {self._max_nodes} node indexes are held")
        return Lease(index, epoch, name, trunk, token, admin, http)

    async def renew(
        self, lease: Lease, *, draining: bool = False, load: Load | None = None
    ) -> None:
        """As `Store.renew`."""
        record = _record(lease.name, lease.trunk, draining, lease.admin, lease.http)
        busy = json.dumps([load.calls, load.capacity] if load else None)
        held = await self._run(
            self._renew, lease.token, record, self._lease_ms, lease.index, lease.epoch, busy
        )
        if not held:
            raise LeaseLost(f"node {lease.index} has a new owner")

    async def release(self, lease: Lease) -> None:
        """As `Store.release`."""
        record = _record(lease.name, lease.trunk, False, lease.admin, lease.http)
        await self._run(self._release, lease.token, record, lease.index, lease.epoch)

    async def snapshot(self) -> Snapshot:
        """As `Store.snapshot`."""
        flat = await self._run(self._snapshot)
        rows = zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
        nodes = [
            node
            for index, epoch, record, load in rows
            if (node := self._node(index, epoch, record, load=load))
        ]
        return Snapshot(tuple(sorted(nodes, key=lambda node: node.index)))

    async def watch(self) -> AsyncGenerator[Snapshot | Node, None]:
        """As `Store.watch`."""
        pubsub = self._redis.pubsub()
        try:
            with self._link.failures_named():
                await self._subscribe(pubsub)
            while True:
                yield await self.snapshot()
                async with aclosing(self._changes(pubsub)) as changes:
                    async for change in changes:
                        yield change
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def unix_s(self) -> float:
        """Redis' clock. Raises StoreUnavailable."""
        with self._link.failures_named():
            seconds, micros = await self._redis.time()
        return float(seconds) + float(micros) / 1e6

    async def close(self) -> None:
        """As `Store.close`."""
        await self._link.close()

    async def _run(self, script: Any, *arguments: str | int) -> Any:
        with self._link.failures_named():
            return await script(keys=self._keys, args=[self._channel, *arguments])

    async def _subscribe(self, pubsub: PubSub) -> None:
        # Not before Redis confirms it may a snapshot be read, or changes between them are lost.
        await pubsub.subscribe(self._channel)
        if await pubsub.get_message(timeout=ANSWER_TIMEOUT_S) is None:
            raise RedisTimeoutError("no answer to SUBSCRIBE")

    async def _changes(self, pubsub: PubSub) -> AsyncGenerator[Node, None]:
        """What is published until the next snapshot is due."""
        clock = asyncio.get_running_loop()
        snapshot_at = clock.time() + self._snapshot_interval_s
        while (left_s := snapshot_at - clock.time()) > 0:
            with self._link.failures_named():
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=left_s)
            if message and (node := self._change(message["data"])):
                yield node

    def _change(self, data: str) -> Node | None:
        try:
            index, epoch, live, record = json.loads(data)
        except (ValueError, TypeError):
            self.unreadable += 1
            return None
        return self._node(index, epoch, record, live=live)

    def _node(
        self, index: Any, epoch: Any, record: Any, live: Any = True, load: Any = None
    ) -> Node | None:
        try:
            entry = json.loads(record)
            admin, http = entry.get("admin"), entry.get("http")
            return Node(
                index=int(index),
                epoch=int(epoch),
                trunk=Address.parse(entry["trunk"]),
                name=str(entry["name"]),
                draining=bool(entry["draining"]),
                live=bool(live),
                admin=Address.parse(admin) if admin else None,
                load=_load(load),
                http=Address.parse(http) if http else None,
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            self.unreadable += 1
            return None


def _record(
    name: str, trunk: Address, draining: bool, admin: Address | None, http: Address | None
) -> str:
    entry = {"name": name, "trunk": str(trunk), "draining": draining}
    if admin:
        entry["admin"] = str(admin)
    if http:
        entry["http"] = str(http)
    # Sorted, because Redis compares records as text to see whether anything changed.
    return json.dumps(entry, sort_keys=True)


def _load(text: str | None) -> Load | None:
    said = json.loads(text) if text else None
    return Load(int(said[0]), int(said[1])) if said else None
