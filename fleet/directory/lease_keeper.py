"""Keeps a transceiver's lease on its node index, by heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from fleet.address import Address
from fleet.directory.directory import Load
from fleet.directory.store import RENEW_INTERVAL_S, Lease, Store
from fleet.errors import DirectoryFull, LeaseLost, StoreUnavailable
from fleet.outages import OutageCounter

log = structlog.get_logger()


def _ignore(_lost: Lease) -> None:
    pass


class LeaseKeeper:
    """Claims a node index, renews it, replaces it when lost, releases it at the end.

        keeper = LeaseKeeper(store, name, trunk, on_loss=...)
        await keeper.claim()                    # at start; raises StoreUnavailable
        heartbeat = tasks.create_task(keeper.run())
        ...
        await keeper.close()                    # `run` returns, the index is free

    An outage of the store costs nothing: the lease is kept and renewed when the store is back. Only
    when another owner has the index by then is it lost: `on_loss(lease)` is called, `lease` is None
    until a new index is claimed, which happens by itself. `losses` counts that. `load` is asked at
    every heartbeat.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        trunk: Address,
        *,
        admin: Address | None = None,
        http: Address | None = None,
        load: Callable[[], Load | None] = lambda: None,
        on_loss: Callable[[Lease], None] = _ignore,
        renew_interval_s: float = RENEW_INTERVAL_S,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._name = name
        self._trunk = trunk
        self._admin = admin
        self._http = http
        self._load = load
        self._on_loss = on_loss
        self._renew_interval_s = renew_interval_s
        self._pause = pause
        self._outages = OutageCounter("lease_keeper")
        self._one_at_a_time = asyncio.Lock()
        self._closed = False
        self.lease: Lease | None = None
        self.draining = False
        self.losses = 0

    @property
    def outages(self) -> int:
        """How often the store stopped answering."""
        return self._outages.outages

    async def claim(self) -> Lease:
        """Take an index. Raises StoreUnavailable and DirectoryFull; ValueError as `check_claim`."""
        self.lease = lease = await self._store.claim(
            self._name, self._trunk, self._admin, self._http
        )
        log.info("lease_claimed", node=lease.index, epoch=lease.epoch)
        if self.draining:
            await self._store.renew(lease, draining=True)
        return lease

    async def run(self) -> None:
        """Renew until `close`, or cancelled."""
        while not self._closed:
            await self._pause(self._pause_s())
            await self._beat()

    async def set_draining(self, draining: bool) -> None:
        """Tell relays at once whether new calls may come here; during an outage, right after it."""
        self.draining = draining
        await self._beat()

    async def close(self) -> None:
        """Release the index. During an outage it is left to expire."""
        async with self._one_at_a_time:
            self._closed = True
            lease, self.lease = self.lease, None
            if lease:
                with suppress(StoreUnavailable):
                    await self._store.release(lease)

    def _pause_s(self) -> float:
        waiting_for_store = self._outages.failures > 0
        if waiting_for_store or self.lease is None:
            return self._outages.pause_s
        return self._renew_interval_s

    async def _beat(self) -> None:
        async with self._one_at_a_time:
            if self._closed:
                return
            try:
                await self._renew_or_claim()
            except (StoreUnavailable, DirectoryFull) as error:
                self._outages.failed(error)
            else:
                self._outages.answered()

    async def _renew_or_claim(self) -> None:
        if self.lease is None:
            await self.claim()
            return
        try:
            await self._store.renew(self.lease, draining=self.draining, load=self._load())
        except LeaseLost:
            self._lose(self.lease)

    def _lose(self, lost: Lease) -> None:
        log.error(
            "lease_lost",
            node=lost.index,
            epoch=lost.epoch,
            reason="another process has claimed this node index since; this one takes a new index",
        )
        self.lease = None
        self.losses += 1
        self._on_loss(lost)
