"""A stand-in for a transceiver: it holds a node index and a trunk address, and answers nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from fleet.directory.redis_store import RedisStore
from fleet.directory.store import RENEW_INTERVAL_S, Lease
from fleet.errors import StoreUnavailable
from loadtest.relay_bench.sockets import LOOPBACK, udp
from trunkline.process.address import Address
from wire.keys import KEY_BYTES, KeyRing
from wire.token import Route
from wire.trunk import Tagger

CLUSTER = 0


@dataclass(frozen=True)
class Keys:
    """The keys of a fleet of our own."""

    token: KeyRing = field(default_factory=lambda: KeyRing(1, {1: os.urandom(KEY_BYTES)}))
    trunk: KeyRing = field(default_factory=lambda: KeyRing(2, {2: os.urandom(KEY_BYTES)}))


@dataclass
class Node:
    """One node of the directory; `sock` is its trunk socket. Counts go on between runs."""

    sock: socket.socket
    lease: Lease
    store: RedisStore
    keys: Keys
    next_count: int = 1
    tagger: Tagger = field(init=False)

    def __post_init__(self) -> None:
        self.tagger = Tagger(self.keys.trunk)

    @property
    def address(self) -> tuple[str, int]:
        """Its trunk address."""
        return self.lease.trunk.host, self.lease.trunk.port

    @property
    def route(self) -> Route:
        """Where its tokens lead."""
        return Route(CLUSTER, self.lease.index, self.lease.epoch)

    @property
    def sender(self) -> int:
        """Its name in a trunk datagram (`wire.trunk`)."""
        return self.lease.index << 16 | self.lease.epoch

    def take_counts(self, count: int) -> range:
        """The next `count` trunk counts; no datagram may repeat one."""
        start, self.next_count = self.next_count, self.next_count + count
        return range(start, self.next_count)

    async def renew(self) -> None:
        """Hold on to the lease; also after the store forgot it."""
        await self.store.renew(self.lease)

    async def keep(self) -> None:
        """Renew until cancelled; an outage of the store is waited out."""
        while True:
            await asyncio.sleep(RENEW_INTERVAL_S)
            with suppress(StoreUnavailable):
                await self.renew()


@asynccontextmanager
async def open_node(redis_url: str, keys: Keys) -> AsyncIterator[Node]:
    """A node in the directory for the length of the block."""
    store = RedisStore(redis_url, CLUSTER, lambda: keys.token)
    with udp(LOOPBACK) as sock:
        lease = await store.claim("bench", Address(*sock.getsockname()))
        node = Node(sock, lease, store, keys)
        keeper = asyncio.create_task(node.keep())
        try:
            yield node
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
            await store.close()
