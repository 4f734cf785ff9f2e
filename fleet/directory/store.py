"""What a fleet asks of its store: who holds which node index.

A lease lasts `lease_s` from its last renewal. It is fenced by a random token that only its owner
knows: nobody else can renew, change or release it.

Any free index is handed out, chosen at random, so that a newcomer hardly takes that of a running
process after the store lost its data. Each new owner of an index gets the next epoch (mod 2^16), so
that a route token of the owner before never reaches it; the very first epoch of an index is random,
so that this also holds after such a loss.

An expired lease may still be renewed if nobody has held its index since, and so may one that the
store forgot altogether: after a restart of the store the fleet comes back as it was.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from fleet.directory.directory import Load, Node, Snapshot
from trunkline.process.address import Address

LEASE_S = 10.0
RENEW_INTERVAL_S = 3.0  # three chances before a lease expires
SNAPSHOT_INTERVAL_S = 5.0  # how long a lost change message can be missed

TOKEN_BYTES = 16


@dataclass(frozen=True, slots=True)
class Lease:
    """Ownership of a node index. `token` proves it and stays with the owner."""

    index: int
    epoch: int
    name: str
    trunk: Address
    token: str = field(repr=False)
    admin: Address | None = None
    http: Address | None = None

    def node(
        self,
        *,
        draining: bool = False,
        live: bool = True,
        load: Load | None = None,
        at_ms: int = 0,
    ) -> Node:
        """The directory's entry for this lease."""
        return Node(
            index=self.index,
            epoch=self.epoch,
            trunk=self.trunk,
            name=self.name,
            draining=draining,
            live=live,
            admin=self.admin,
            load=load,
            http=self.http,
            at_ms=at_ms,
        )


class Store(Protocol):
    """Leases on node indexes within one cluster. Every method may raise StoreUnavailable."""

    async def claim(
        self,
        name: str,
        trunk: Address,
        admin: Address | None = None,
        http: Address | None = None,
    ) -> Lease:
        """Take a free index. Raises DirectoryFull; ValueError as `check_claim` does.

        `admin` is where operators reach the process, `http` where other transceivers do.
        """

    async def renew(
        self, lease: Lease, *, draining: bool = False, load: Load | None = None
    ) -> None:
        """Hold on to `lease` for another term.

        Raises LeaseLost when somebody else had its index, and Fenced when `fence` was called on it.

        Watchers learn of it only when something changed: draining, or a lease that had expired.
        The load comes with snapshots.
        """

    async def release(self, lease: Lease) -> None:
        """Give the index back; nothing happens when it is no longer ours."""

    async def fence(self, node: Node) -> bool:
        """End the lease of `node`, which is taken for dead: its epoch is over for good.

        Whoever watches learns of the next epoch, with nobody living in it. False when that epoch
        was over already.
        """

    async def snapshot(self) -> Snapshot:
        """Every node with an unexpired lease, by index."""

    def watch(self) -> AsyncGenerator[Snapshot | Node, None]:
        """A snapshot, then every change as it happens, and a snapshot again every few seconds.

        A released node comes as `live=False`. Changes can be lost or late; snapshots heal that.
        Close it (`contextlib.aclosing`) when you stop before it does.
        """

    async def close(self) -> None:
        """Let go of connections. Leases stay until released or expired."""
