"""This process as a node of its cluster: its route tokens follow the lease that it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from fleet.calls.owner import Owner
from fleet.directory.directory import Load
from fleet.directory.lease_keeper import LeaseKeeper
from fleet.directory.store import Store
from fleet.directory.tenancy import Tenancy
from trunkline.process.address import Address
from wire.token import Route


class Routed(Protocol):
    """What follows the lease: the engine."""

    route: Route
    draining: bool
    max_calls: int

    def calls(self) -> Sequence[object]:
        """Live calls."""

    def dismiss_all(self, reason: str) -> int:
        """End every call after its caller was told."""


class NodeKeeper(LeaseKeeper):
    """A lease keeper that tells the engine its route, and whether to take calls.

    While no lease is held the engine takes no calls, since nobody could route to them; calls that
    are there go on with the route of the lease before. `is_node` hears which node the process is
    from now on, `on_fenced` that it was taken for dead, and that others go on with its calls.
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
        is_node: Callable[[Owner | None], None] = lambda _: None,
        on_fenced: Callable[[], object] = lambda: None,
    ) -> None:
        def follow(tenancy: Tenancy) -> None:
            lease = tenancy.lease
            is_node(Owner(lease.index, lease.epoch) if lease else None)
            if tenancy.lease:
                engine.route = Route(cluster, tenancy.lease.index, tenancy.lease.epoch)
            engine.draining = not tenancy.ready

        super().__init__(
            store,
            name,
            trunk,
            admin=admin,
            http=http,
            load=lambda: Load(len(engine.calls()), engine.max_calls),
            follow=follow,
            on_deadline=lambda: engine.dismiss_all("drained"),
            on_fenced=on_fenced,
        )
