"""Which process owns a call, by the call's id: one of this Pod, or one of another Pod.

The id names the node that made the call; the directory says where that node is now. It is read when
somebody asks, once a second at most, and the last one serves while the store does not answer.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

from fleet.directory.directory import Node
from fleet.errors import StoreUnavailable
from transceiver.call.call_id import Origin, origin_of
from transceiver.pod.pod_place import PodPlace
from trunkline.process.address import Address

FRESH_S = 1.0

Nodes = Callable[[], Awaitable[Iterable[Node]]]
Owner = int | Address
"""A process of this pod by its number, or where another pod answers HTTP."""


async def _nobody() -> Iterable[Node]:
    return ()


class Owners:
    """What one process knows of the others. `own_http` is where the directory says that its pod is;
    `nodes` gives the directory, and may raise StoreUnavailable; `now` is a clock in seconds."""

    def __init__(
        self,
        pod_place: PodPlace,
        own_http: Address | None = None,
        nodes: Nodes = _nobody,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pod_place = pod_place
        self.own_http = own_http
        self._nodes = nodes
        self._now = now
        self._known: Mapping[int, Node] = {}
        self._read_s = float("-inf")

    async def find(self, call_id: str, *, within_pod: bool = False) -> Owner | None:
        """Who is to be asked about a call that is not here; None: nobody."""
        origin = origin_of(call_id)
        if origin is None:
            return None
        if not within_pod:
            node = (await self._directory()).get(origin.node)
            if node is not None and node.http not in (None, self.own_http):
                return node.http
        return self._neighbour(origin)

    async def others(self) -> list[Address]:
        """Where the other pods of the fleet answer HTTP."""
        nodes = (await self._directory()).values()
        found = dict.fromkeys(node.http for node in nodes if node.http and node.live)
        return [http for http in found if http != self.own_http]

    def _neighbour(self, origin: Origin) -> int | None:
        there = origin.process != self._pod_place.index and origin.process < self._pod_place.count
        return origin.process if there else None

    async def _directory(self) -> Mapping[int, Node]:
        if self._now() - self._read_s >= FRESH_S:
            self._read_s = self._now()  # before it is read: nobody else asks meanwhile
            with suppress(StoreUnavailable):
                self._known = {node.index: node for node in await self._nodes()}
        return self._known
