"""An echo backend with a limit, that counts what it is asked to do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backends.echo import echo
from launcher.addresses import LOOPBACK
from trunkline.backend import Backend, BackendServer, Call
from trunkline.process.address import Address


class CountedBackend:
    """`started` are calls by Unix second, also those it would not take; `most` at the same time.

    A call beyond `capacity` is hung up at once: whoever lets callers through to a full backend is
    found out here.
    """

    def __init__(self, capacity: int) -> None:
        self.started: Counter[int] = Counter()
        self.live = 0
        self.most = 0
        self.port = 0
        self._capacity = capacity

    async def handle(self, call: Call) -> None:
        """One call."""
        self.started[int(time.time())] += 1
        self.live += 1
        self.most = max(self.most, self.live)
        try:
            if self.live <= self._capacity:
                await echo(call)
            else:
                call.hang_up("busy")
        finally:
            self.live -= 1

    def started_between(self, start_s: float, end_s: float) -> int:
        """Calls it was asked to take in whole seconds from `start_s` to before `end_s`."""
        return sum(n for second, n in self.started.items() if start_s <= second < end_s)


@asynccontextmanager
async def counted_backend(capacity: int) -> AsyncIterator[CountedBackend]:
    """Serve on a free port for the length of the block."""
    backend = CountedBackend(capacity)
    async with BackendServer(Backend(backend.handle, "counted"), Address(LOOPBACK, 0)) as server:
        backend.port = server.port
        yield backend
