"""The store of a fleet in one process, for tests and simulations."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from fleet.directory.directory import Load, Node, Snapshot, check_claim, fenced
from fleet.directory.store import LEASE_S, SNAPSHOT_INTERVAL_S, TOKEN_BYTES, Lease
from fleet.errors import DirectoryFull, Fenced, LeaseLost
from trunkline.process.address import Address
from wire.epoch import next_epoch
from wire.token import MAX_NODE

MAX_PENDING_CHANGES = 1024  # per watcher; what is lost beyond it comes with the next snapshot


@dataclass(slots=True)
class _Holding:
    lease: Lease
    draining: bool
    expires_at: float
    load: Load | None = None


class MemoryStore:
    """All processes of the fleet share this one object. `now` is a clock in seconds."""

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.monotonic,
        lease_s: float = LEASE_S,
        snapshot_interval_s: float = SNAPSHOT_INTERVAL_S,
        max_nodes: int = MAX_NODE + 1,
        random_below: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._now = now
        self._lease_s = lease_s
        self._snapshot_interval_s = snapshot_interval_s
        self._max_nodes = max_nodes
        self._random_below = random_below
        self._holdings: dict[int, _Holding] = {}
        self._epochs: dict[int, int] = {}
        self._fences: dict[int, int] = {}  # the epoch of each index that was fenced last
        self._watchers: set[asyncio.Queue[Node]] = set()

    async def claim(
        self,
        name: str,
        trunk: Address,
        admin: Address | None = None,
        http: Address | None = None,
    ) -> Lease:
        """As `Store.claim`."""
        check_claim(name, trunk)
        self._forget_expired()
        index = self._free_index()
        self._epochs[index] = self._epoch_of_next_owner(index)
        token = secrets.token_hex(TOKEN_BYTES)
        lease = Lease(index, self._epochs[index], name, trunk, token, admin, http)
        self._hold(lease, draining=False)
        self._publish(lease.node())
        return lease

    async def renew(
        self, lease: Lease, *, draining: bool = False, load: Load | None = None
    ) -> None:
        """As `Store.renew`."""
        before = self._holdings.get(lease.index)
        owner_changed = before is not None and before.lease.token != lease.token
        if owner_changed or self._epochs.get(lease.index, lease.epoch) != lease.epoch:
            if self._fences.get(lease.index) == lease.epoch:
                raise Fenced(f"node {lease.index} was taken for dead")
            raise LeaseLost(f"node {lease.index} has a new owner")
        self._epochs[lease.index] = lease.epoch
        unchanged = before and self._is_live(before) and before.draining == draining
        self._hold(lease, draining, load)
        if not unchanged:
            self._publish(lease.node(draining=draining))

    async def release(self, lease: Lease) -> None:
        """As `Store.release`."""
        holding = self._holdings.get(lease.index)
        if holding and holding.lease.token == lease.token:
            del self._holdings[lease.index]
            self._publish(lease.node(live=False))

    async def fence(self, node: Node) -> bool:
        """As `Store.fence`."""
        if self._epochs.get(node.index, node.epoch) != node.epoch:
            return False
        self._holdings.pop(node.index, None)
        self._epochs[node.index], self._fences[node.index] = next_epoch(node.epoch), node.epoch
        self._publish(fenced(node))
        return True

    async def snapshot(self) -> Snapshot:
        """As `Store.snapshot`."""
        live = (holding for _, holding in sorted(self._holdings.items()) if self._is_live(holding))
        return Snapshot(tuple(h.lease.node(draining=h.draining, load=h.load) for h in live))

    async def watch(self) -> AsyncGenerator[Snapshot | Node, None]:
        """As `Store.watch`."""
        changes: asyncio.Queue[Node] = asyncio.Queue(MAX_PENDING_CHANGES)
        self._watchers.add(changes)
        try:
            while True:
                yield await self.snapshot()
                async with aclosing(self._changes(changes)) as until_next_snapshot:
                    async for node in until_next_snapshot:
                        yield node
        finally:
            self._watchers.discard(changes)

    async def _changes(self, pending: asyncio.Queue[Node]) -> AsyncGenerator[Node, None]:
        snapshot_at = asyncio.get_running_loop().time() + self._snapshot_interval_s
        while True:
            try:
                # Nothing is yielded inside: a timeout there would cancel whoever iterates.
                async with asyncio.timeout_at(snapshot_at):
                    node = await pending.get()
            except TimeoutError:
                return
            yield node

    async def close(self) -> None:
        """As `Store.close`; there is nothing to let go of."""

    def forget_everything(self) -> None:
        """Lose all data, as a store without persistence does when it restarts."""
        self._holdings.clear()
        self._epochs.clear()
        self._fences.clear()

    def _free_index(self) -> int:
        first = self._random_below(self._max_nodes)
        for index in itertools.chain(range(first, self._max_nodes), range(first)):
            if index not in self._holdings:
                return index
        raise DirectoryFull(f"all {self._max_nodes} node indexes are held")

    def _epoch_of_next_owner(self, index: int) -> int:
        known = self._epochs.get(index)
        return secrets.randbits(16) if known is None else next_epoch(known)

    def _hold(self, lease: Lease, draining: bool, load: Load | None = None) -> None:
        ends_s = self._now() + self._lease_s
        self._holdings[lease.index] = _Holding(lease, draining, ends_s, load)

    def _is_live(self, holding: _Holding) -> bool:
        return holding.expires_at > self._now()

    def _forget_expired(self) -> None:
        self._holdings = {i: h for i, h in self._holdings.items() if self._is_live(h)}

    def _publish(self, node: Node) -> None:
        for changes in self._watchers:
            if not changes.full():
                changes.put_nowait(node)
