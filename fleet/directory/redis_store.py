"""The store of a real fleet: leases are in Redis, and changes come by pub/sub.

What Redis says is foreign: others may write to it. Every node is a sealed record (`fleet.seal`);
whatever else is found counts as `unreadable` and is passed over, and the rest is used. Sealed
records also say whose a lease is: a process gives its index up only to somebody who has put a
record of his own there.

Every key begins `trunkline:{cluster}:`. The braces are literal: they put all keys of a cluster in
one slot of a Redis Cluster, as scripts over several keys need.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any

from redis.asyncio.client import PubSub
from redis.exceptions import TimeoutError as RedisTimeoutError

from fleet import redis_link
from fleet.directory import scripts as redis_scripts
from fleet.directory.directory import Load, Node, Snapshot, check_claim, fenced, is_fence_of
from fleet.directory.node_record import PURPOSE, UnreadableRecord, open_node, seal_node
from fleet.directory.store import LEASE_S, SNAPSHOT_INTERVAL_S, TOKEN_BYTES, Lease
from fleet.errors import DirectoryFull, Fenced, LeaseLost, StoreUnavailable
from fleet.redis_link import ANSWER_TIMEOUT_S, RedisLink
from fleet.seal import MAX_AGE_MS, Keys, Seal
from trunkline.process.address import Address
from wire.token import MAX_EPOCH, MAX_NODE

MAX_CLAIM_TRIES = 3
_KEY_NAMES = ("holders", "records", "epochs", "expiry", "states")


def directory_key(cluster: int, name: str) -> str:
    """The key of one part of a cluster's directory, for scripts that look at it as well."""
    return f"trunkline:{{{cluster}}}:directory:{name}"


class RedisStore:
    """A `Store` in the Redis at `url`, for one cluster (0 to 4095).

    The connection is made by the first call. `keys` gives the ring that records are sealed with.
    `unreadable` counts what is no record of this fleet; it is left out. `contested` counts renewals
    of leases that somebody else seemed to have but could not prove.
    """

    def __init__(
        self,
        url: str,
        cluster: int,
        keys: Keys,
        *,
        lease_s: float = LEASE_S,
        snapshot_interval_s: float = SNAPSHOT_INTERVAL_S,
        max_nodes: int = MAX_NODE + 1,
        random_below: Callable[[int], int] = secrets.randbelow,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        """Raise ValueError for a URL that redis-py cannot read; its text never quotes the URL."""
        self._link = RedisLink(url)
        self._redis = self._link.client
        self._seal = Seal(keys, PURPOSE, cluster)
        self._keys = [directory_key(cluster, name) for name in _KEY_NAMES]
        self._channel = directory_key(cluster, "changes")
        self._lease_ms = round(lease_s * 1000)
        self._snapshot_interval_s = snapshot_interval_s
        self._max_nodes = max_nodes
        self._random_below = random_below
        self._unix_s = unix_s
        self._claim = self._redis.register_script(redis_scripts.CLAIM)
        self._renew = self._redis.register_script(redis_scripts.RENEW)
        self._release = self._redis.register_script(redis_scripts.RELEASE)
        self._fence = self._redis.register_script(redis_scripts.FENCE)
        self._snapshot = self._redis.register_script(redis_scripts.SNAPSHOT)
        self._renewed = ("", 0)  # the token of the lease renewed last, and when
        self.unreadable = 0
        self.contested = 0

    async def claim(
        self,
        name: str,
        trunk: Address,
        admin: Address | None = None,
        http: Address | None = None,
    ) -> Lease:
        """As `Store.claim`."""
        check_claim(name, trunk)
        for _ in range(MAX_CLAIM_TRIES):
            token = secrets.token_hex(TOKEN_BYTES)
            index, epoch = await self._free_index(token)
            lease = Lease(index, epoch, name, trunk, token, admin, http)
            self._renewed = token, self._now_ms()
            with suppress(LeaseLost):  # its owner was only late, and has taken it back
                await self.renew(lease)
                return lease
        raise StoreUnavailable(f"Redis at {self._link.place} gives out node indexes that are held")

    async def renew(
        self, lease: Lease, *, draining: bool = False, load: Load | None = None
    ) -> None:
        """As `Store.renew`."""
        node = lease.node(draining=draining, load=load, at_ms=self._now_ms())
        answer = await self._put(lease, node)
        if answer != 1:
            rival = self._rival(answer, node)
            if rival is not None and is_fence_of(node, rival):
                raise Fenced(f"node {lease.index} was taken for dead")
            if rival is not None or not self._held_lately(lease):
                raise LeaseLost(f"node {lease.index} has a new owner")
            self.contested += 1
            redis_link.counts["leases_contested"] += 1
            await self._put(lease, node, force=True)
        self._renewed = lease.token, node.at_ms

    async def release(self, lease: Lease) -> None:
        """As `Store.release`."""
        gone = seal_node(self._seal, lease.node(live=False, at_ms=self._now_ms()))
        await self._run(self._release, lease.token, lease.index, gone, self._channel)

    async def fence(self, node: Node) -> bool:
        """As `Store.fence`."""
        gone = fenced(node, self._now_ms())
        record, epochs = seal_node(self._seal, gone), (node.epoch, gone.epoch)
        return bool(await self._run(self._fence, node.index, *epochs, record, self._channel))

    async def snapshot(self) -> Snapshot:
        """As `Store.snapshot`."""
        flat = await self._run(self._snapshot)
        rows = zip(flat[::2], flat[1::2], strict=False)
        nodes = {node.index: node for row in rows if (node := self._node_at(*row))}
        return Snapshot(tuple(nodes[index] for index in sorted(nodes)))

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

    async def _free_index(self, token: str) -> tuple[int, int]:
        """An index that is free and the epoch of its next owner. Raises DirectoryFull."""
        first, epoch = self._random_below(self._max_nodes), secrets.randbits(16)
        found = await self._run(self._claim, token, self._lease_ms, self._max_nodes, first, epoch)
        with self._link.failures_named():
            index, epoch = map(int, found)
        if index < 0:
            raise DirectoryFull(f"all {self._max_nodes} node indexes are held")
        if index > MAX_NODE or not 0 <= epoch <= MAX_EPOCH:
            raise StoreUnavailable(f"Redis at {self._link.place} gives out no node index")
        return index, epoch

    async def _put(self, lease: Lease, node: Node, *, force: bool = False) -> object:
        """1, or the record of whoever seems to have the index."""
        return await self._run(
            self._renew,
            *(lease.token, self._lease_ms, lease.index, lease.epoch),
            *(seal_node(self._seal, node), f"{lease.epoch}:{node.draining}"),
            *(self._channel, int(force)),
        )

    def _rival(self, record: object, ours: Node) -> Node | None:
        """What another has put in our place: its own record, or that we are taken for dead."""
        theirs = self._read(record) if record else None
        if theirs is None or theirs.index != ours.index:
            return None
        same = (theirs.epoch, theirs.name, theirs.trunk) == (ours.epoch, ours.name, ours.trunk)
        return None if same else theirs

    def _held_lately(self, lease: Lease) -> bool:
        """Whether any owner since would have left a record that is not too old to be read."""
        token, renewed_ms = self._renewed
        return token == lease.token and self._now_ms() - renewed_ms < MAX_AGE_MS

    def _node_at(self, index: object, record: object) -> Node | None:
        node = self._read(record)
        if node is None or not node.live or str(node.index) != index:
            if node is not None:
                self._count_unreadable()
            return None
        return node

    def _read(self, record: object) -> Node | None:
        try:
            return open_node(self._seal, record, self._now_ms())
        except UnreadableRecord:
            self._count_unreadable()
            return None

    def _count_unreadable(self) -> None:
        self.unreadable += 1
        redis_link.counts["directory_unreadable"] += 1

    def _now_ms(self) -> int:
        return int(self._unix_s() * 1000)

    async def _run(self, script: Any, *arguments: str | int) -> Any:
        with self._link.failures_named():
            return await script(keys=self._keys, args=arguments)

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
            if message and (node := self._read(message.get("data"))):
                yield node
