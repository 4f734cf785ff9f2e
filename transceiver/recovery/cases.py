"""What comes of a suspicion: nothing, or a fence and a share of the lost calls.

    suspicion ─▶ silent: does it answer a witness? ─▶ yes: nothing happens, counted
                 died: its parent saw it end          no: fence ─▶ take (`taker`)

Each process has one case of one owner at a time, and MAX_CASES in all. A suspicion of this process
itself makes it ask the directory whether it has been fenced already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from fleet.calls.owner import Owner
from fleet.directory.directory import Directory, Node
from fleet.errors import StoreUnavailable
from fleet.suspicion import Cause, Suspicion
from transceiver.counters import Counted
from transceiver.recovery.rank import waits_s
from trunkline.process.address import Address
from wire.epoch import is_older

MAX_CASES = 64
WINDOW_S = 30.0  # after it no checkpoint is young enough
AGAIN_S = 0.25  # between two tries while the store is away

log = structlog.get_logger(__name__)


class Asks(Protocol):
    """A witness."""

    async def lives(self, owner: Owner, http: Address) -> bool:
        """Whether the process answers."""


class Fences(Protocol):
    """The directory's store."""

    async def fence(self, node: Node) -> bool:
        """As `Store.fence`."""


class Takes(Protocol):
    """Who takes lost calls in."""

    async def take_share(self, lost: Owner) -> None:
        """Take calls of a fenced owner until there are none, or WINDOW_S is over."""


class Cases:
    """The cases of one process. `me` is who it is now, `suspected` is called when that is it."""

    def __init__(
        self,
        directory: Directory,
        witness: Asks,
        store: Fences,
        taker: Takes,
        me: Callable[[], Owner],
        count: Callable[[str], None],
        suspected: Callable[[], Awaitable[object]],
    ) -> None:
        self._directory = directory
        self._witness = witness
        self._store = store
        self._taker = taker
        self._me = me
        self._count = count
        self._suspected = suspected
        self._open: dict[Owner, asyncio.Task[None]] = {}

    def hear(self, suspicion: Suspicion) -> None:
        """Look into it, unless that is being done."""
        owner = Owner(suspicion.node, suspicion.epoch)
        if owner in self._open:
            return
        if len(self._open) >= MAX_CASES:
            self._count(Counted.SUSPICIONS_FULL)
            return
        task = asyncio.create_task(self._look_into(owner, suspicion.cause), name=f"case {owner}")
        self._open[owner] = task
        task.add_done_callback(lambda _: self._open.pop(owner, None))

    async def close(self) -> None:
        """Let go of all of them."""
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_into(self, owner: Owner, cause: Cause) -> None:
        try:
            if owner == self._me():
                await self._suspected()
            elif await self._is_lost(owner, cause):
                await asyncio.wait_for(self._taker.take_share(owner), WINDOW_S)
        except TimeoutError:
            pass
        except Exception:  # of ours: this case is over, and the next suspicion is another
            log.exception("suspicion_failed", node=owner.node, epoch=owner.epoch)

    async def _is_lost(self, owner: Owner, cause: Cause) -> bool:
        """Whether the owner is gone for good: fenced now, here or by somebody else."""
        node = self._directory.find(owner.node)
        if node is None:
            return False
        if cause is Cause.SILENT:
            await self._let_others_ask(owner)
        if not self._over(owner):
            if cause is Cause.SILENT and await self._lives(owner, node):
                self._count(Counted.SUSPICIONS_FALSE)
                log.info("suspicion_false", node=owner.node, epoch=owner.epoch)
                return False
            await self._fence(owner, node)
        return True

    async def _let_others_ask(self, owner: Owner) -> None:
        live = [Owner.of(node) for node in self._directory if node.live]
        fenced = asyncio.Event()
        stop = self._directory.listen(lambda _: fenced.set() if self._over(owner) else None)
        try:
            async with asyncio.timeout(waits_s(owner, self._me(), live)):
                await fenced.wait()
        except TimeoutError:
            pass
        finally:
            stop()

    async def _lives(self, owner: Owner, node: Node) -> bool:
        # Who says nowhere how to be asked is not known to be gone.
        return node.http is None or await self._witness.lives(owner, node.http)

    async def _fence(self, owner: Owner, node: Node) -> None:
        """Fence it, however long the store takes. Others may have done it."""
        while not self._over(owner):
            try:
                if await self._store.fence(node):
                    self._count(Counted.NODES_FENCED)
                    log.warning("node_lost", node=owner.node, epoch=owner.epoch)
                return
            except StoreUnavailable:
                await asyncio.sleep(AGAIN_S)

    def _over(self, owner: Owner) -> bool:
        node = self._directory.find(owner.node)
        return node is not None and is_older(owner.epoch, than=node.epoch)
