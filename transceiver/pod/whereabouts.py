"""Finds a call that is not where its id says: it has moved, once or often, or was taken over.

    known     where a call went from here, or was found a while ago
    search    ask all processes of this Pod, and one of each other Pod, which asks those of its own

Nobody keeps a table of all calls, so nothing can be lost or be wrong for long. A search is bounded
in time, in Pods and in searches a second, since a caller may ask for calls that are over as often
as he likes.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

import aiohttp
from aiohttp import hdrs

from transceiver.call.call_id import origin_of
from transceiver.call.principal import NOBODY
from transceiver.pod.owners import Owner
from transceiver.pod.peer import Peer
from transceiver.pod.proof import NotProven, Passed
from transceiver.signaling.pace import Pace
from trunkline.process.address import Address

MAX_KNOWN = 4096
MAX_PODS = 64  # asked for one call, the first of the directory
TIMEOUT_S = 1.0
SEARCHES_PER_S, BURST = 20.0, 40.0


class Whereabouts:
    """What one process knows of calls of others. `peer` connects, `pods` has the other Pods."""

    def __init__(
        self,
        peer: Callable[[Owner], Awaitable[Peer]],
        pods: Callable[[], Awaitable[Sequence[Address]]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._peer = peer
        self._pods = pods
        self._now = now
        self._known: OrderedDict[str, Owner] = OrderedDict()
        self._pace = Pace(SEARCHES_PER_S, BURST, TIMEOUT_S)

    def note(self, call_id: str, owner: Owner | None) -> None:
        """A call is there now; None: it is here."""
        self._known.pop(call_id, None)
        if owner is not None:
            self._known[call_id] = owner
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def known(self, call_id: str, *, within_pod: bool) -> Owner | None:
        """Where a call went; what another Pod passed on goes to no third one."""
        owner = self._known.get(call_id)
        return None if within_pod and isinstance(owner, Address) else owner

    async def search(
        self, call_id: str, others: Sequence[int], *, within_pod: bool
    ) -> Owner | None:
        """Who has a call; None: nobody, or too many searches were asked for."""
        known = self.known(call_id, within_pod=within_pod)
        if known is not None and await self._has(call_id, known) is not None:
            return known
        if origin_of(call_id) is None or self._pace.wait_s(self._now()) > 0:
            return None
        owners: list[Owner] = list(others)
        if not within_pod:
            owners += (await self._pods())[:MAX_PODS]
        found = await self._first(call_id, owners)
        if found is not None:
            self.note(call_id, found)
        return found

    async def _first(self, call_id: str, owners: Sequence[Owner]) -> Owner | None:
        """The first who says that the call is there."""
        asking = [asyncio.ensure_future(self._has(call_id, owner)) for owner in owners]
        try:
            for answer in asyncio.as_completed(asking, timeout=TIMEOUT_S):
                owner = await answer
                if owner is not None:
                    return owner
        except TimeoutError:
            pass
        finally:
            for task in asking:
                task.cancel()
        return None

    async def _has(self, call_id: str, owner: Owner) -> Owner | None:
        peer = await self._peer(owner)
        try:
            answer = await peer.ask(Passed(hdrs.METH_GET, path_of(call_id), NOBODY))
        except (aiohttp.ClientError, TimeoutError, NotProven):
            return None
        return owner if answer.status == HTTPStatus.OK else None


def path_of(call_id: str) -> str:
    """What is asked of a process about a call that it may have."""
    return f"/fleet/calls/{call_id}"
