"""Keeps a transceiver's lease on its node index, by heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from fleet.backoff import STORE_PACE
from fleet.directory.directory import Load
from fleet.directory.store import RENEW_INTERVAL_S, Lease, Store
from fleet.directory.tenancy import Tenancy
from fleet.errors import DirectoryFull, Fenced, LeaseLost, StoreUnavailable
from fleet.outages import OutageCounter
from trunkline.process.address import Address

MAX_STEPS_A_BEAT = 4  # lost, claimed, told: more in a row is no heartbeat any more

log = structlog.get_logger(__name__)


def _ignore(_tenancy: Tenancy) -> None:
    pass


class LeaseKeeper:
    """Claims a node index, renews it, replaces it when lost, releases it at the end.

        keeper = LeaseKeeper(store, name, trunk, follow=...)
        await keeper.claim()                    # at start; raises StoreUnavailable
        heartbeat = tasks.create_task(keeper.run())
        ...
        await keeper.close()                    # `run` returns, the index is free

    `tenancy` says how things stand, and `follow(tenancy)` hears of every change at once, before the
    store does. `on_deadline()` is called when a drain's time is over; its timer is here and nowhere
    else.

    An outage of the store costs nothing: the lease is kept and renewed when the store is back. Only
    when another owner has the index by then is it lost, and a new index is claimed at once.
    `losses` counts that. A process that was taken for dead hears `on_fenced()` before that: others
    go on with its calls. `load` is asked at every heartbeat.
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
        follow: Callable[[Tenancy], None] = _ignore,
        on_deadline: Callable[[], object] = lambda: None,
        on_fenced: Callable[[], object] = lambda: None,
        renew_interval_s: float = RENEW_INTERVAL_S,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._name = name
        self._trunk = trunk
        self._admin = admin
        self._http = http
        self._load = load
        self._follow = follow
        self._on_deadline = on_deadline
        self._on_fenced = on_fenced
        self._renew_interval_s = renew_interval_s
        self._pause = pause
        self._outages = OutageCounter("lease_keeper")
        self._one_at_a_time = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.tenancy = Tenancy()
        self.losses = 0

    @property
    def lease(self) -> Lease | None:
        """The lease of now."""
        return self.tenancy.lease

    @property
    def ready(self) -> bool:
        """Whether new calls may come."""
        return self.tenancy.ready

    @property
    def outages(self) -> int:
        """How often the store stopped answering."""
        return self._outages.outages

    async def claim(self) -> Lease:
        """Take an index. Raises StoreUnavailable and DirectoryFull; ValueError as `check_claim`."""
        async with self._one_at_a_time:
            return await self._claim()

    async def run(self) -> None:
        """Renew until `close`, or cancelled."""
        while not self._closed:
            await self._pause(self._pause_s())
            await self.beat()

    def begin_drain(self, deadline_s: float | None) -> None:
        """Take no new calls from now on; call `on_deadline` after `deadline_s` (None: never).

        Await `beat` next, to tell the relays.
        """
        now_s = asyncio.get_running_loop().time()
        self._become(self.tenancy.drained(None if deadline_s is None else now_s + deadline_s))

    def begin_leaving(self) -> None:
        """Take no new calls any more: no operator can take that back. Await `beat` next."""
        self._become(self.tenancy.left())

    async def drain(self, deadline_s: float | None) -> None:
        """`begin_drain`, and tell the relays; during an outage they are told right after it."""
        self.begin_drain(deadline_s)
        await self.beat()

    async def undrain(self) -> None:
        """Take new calls again, as soon as a lease is held; an old deadline is forgotten."""
        self._become(self.tenancy.undrained())
        await self.beat()

    async def close(self) -> None:
        """Release the index. During an outage it is left to expire."""
        self.begin_leaving()
        self._closed = True
        async with self._one_at_a_time:
            lease = self.lease
            if lease:
                self._become(self.tenancy.lost(lease))
                with suppress(StoreUnavailable):
                    await self._store.release(lease)

    async def beat(self) -> None:
        """Tell the store how things stand. Raises nothing: what went wrong is tried again."""
        async with self._one_at_a_time:
            try:
                await self._settle()
            except (StoreUnavailable, DirectoryFull) as error:
                self._outages.failed(error)
            except Exception as error:
                # A fault of ours, and no reason to let go of the index and of all calls.
                if not self._outages.failures:
                    log.exception("heartbeat_failed")
                self._outages.failed(error)
            else:
                self._outages.answered()

    async def _settle(self) -> None:
        """One heartbeat, and more while that changed things or somebody changed them meanwhile."""
        for _ in range(MAX_STEPS_A_BEAT):
            if self._closed:
                return
            await (self._renew(self.lease) if self.lease else self._claim())
            if self.tenancy.settled:
                return

    async def _claim(self) -> Lease:
        lease = await self._store.claim(self._name, self._trunk, self._admin, self._http)
        log.info("lease_claimed", node=lease.index, epoch=lease.epoch)
        self._become(self.tenancy.claimed(lease))
        return lease

    async def _renew(self, lease: Lease) -> None:
        draining = self.tenancy.draining
        try:
            await self._store.renew(lease, draining=draining, load=self._load())
        except Fenced:
            log.error("node_fenced", node=lease.index, epoch=lease.epoch)
            self._lose(lease)
            self._on_fenced()
        except LeaseLost:
            log.error(
                "lease_lost",
                node=lease.index,
                epoch=lease.epoch,
                reason="another process has claimed this node index since; this one takes a new "
                "index",
            )
            self._lose(lease)
        else:
            self._become(self.tenancy.renewed(lease, draining=draining))

    def _lose(self, lease: Lease) -> None:
        self.losses += 1
        self._become(self.tenancy.lost(lease))

    def _become(self, tenancy: Tenancy) -> None:
        """The one place where anything changes: what follows from it is set before all else."""
        before, self.tenancy = self.tenancy, tenancy
        if tenancy.drain_ends_s != before.drain_ends_s:
            self._arm(tenancy.drain_ends_s)
        self._follow(tenancy)

    def _arm(self, ends_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if ends_s is not None:
            self._timer = asyncio.get_running_loop().call_at(ends_s, self._drain_over, ends_s)

    def _drain_over(self, ends_s: float) -> None:
        after = self.tenancy.over(ends_s)
        if after is not self.tenancy:
            self._become(after)
            self._on_deadline()

    def _pause_s(self) -> float:
        if self._outages.failures > 0:
            return self._outages.pause_s
        return self._renew_interval_s if self.lease else STORE_PACE.wait_s(1)
