"""This process as a node of its cluster: its route tokens follow the lease that it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fleet.address import Address
from fleet.directory.directory import Load
from fleet.directory.lease_keeper import LeaseKeeper
from fleet.directory.store import Lease, Store
from wire.token import Route


class Routed(Protocol):
    """What follows the lease: the engine."""

    route: Route
    draining: bool
    max_calls: int

    def calls(self) -> Sequence[object]:
        """Live calls."""

    def drain(self, deadline_s: float = 0) -> int:
        """Take no new calls."""

    def undrain(self) -> None:
        """Take new calls again."""


class NodeKeeper(LeaseKeeper):
    """A lease keeper that tells the engine its route.

    While no lease is held the engine takes no calls, since nobody could route to them; calls that
    are there go on with the route of the lease before.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        trunk: Address,
        engine: Routed,
        cluster: int,
        admin: Address | None = None,
        http: Address | None = None,
    ) -> None:
        super().__init__(
            store,
            name,
            trunk,
            admin=admin,
            http=http,
            load=lambda: Load(len(engine.calls()), engine.max_calls),
            on_loss=self._stop_taking_calls,
        )
        self._engine = engine
        self._cluster = cluster

    @property
    def ready(self) -> bool:
        """Whether new calls may come: a lease is held, and nobody asked for a drain."""
        return self.lease is not None and not self._engine.draining

    async def claim(self) -> Lease:
        """As `LeaseKeeper.claim`; the engine's new calls have the new route."""
        lease = await super().claim()
        self._engine.route = Route(self._cluster, lease.index, lease.epoch)
        self._engine.draining = self.draining
        return lease

    async def drain(self, deadline_s: float | None) -> None:
        """Take no new calls; end what is left after `deadline_s` (None: never)."""
        self._engine.drain(deadline_s or 0)
        await self.set_draining(True)

    async def undrain(self) -> None:
        """Take new calls again, as soon as a lease is held."""
        if self.lease is not None:
            self._engine.undrain()
        await self.set_draining(False)

    def _stop_taking_calls(self, _lost: Lease) -> None:
        self._engine.draining = True
