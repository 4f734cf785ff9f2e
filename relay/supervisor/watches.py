"""Which flows are watched for their voice health. Workers have `relay.shared.voice`.

A flow is named by an id that `ListFlows` gives out: worker, slot, and a keyed fingerprint of the
address, so that an id tells nothing about a caller and a slot that has a new owner is noticed.
A watch ends a minute after it was last asked about, in the worker too: if this process forgets to
say so, nothing is left behind.

    Exception
    └── WatchRefused
        ├── UnknownFlow     no such flow, or not any more
        └── TooManyWatches  the worker watches as many as it can
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from relay.shared.flows import FlowRow
from relay.shared.voice import MAX_WATCHED, VoiceHealth, WatchOrder
from relay.supervisor.crew import Crew
from relay.supervisor.post import Post

LINGER_MS = 60_000
_FINGERPRINT_BYTES = 6


class WatchRefused(Exception):  # noqa: N818 - an answer to the operator
    """The flows will not be watched."""


class UnknownFlow(WatchRefused):
    """An id that leads to no flow."""


class TooManyWatches(WatchRefused):
    """No record is free."""


@dataclass(frozen=True)
class _Place:
    post: Post
    address: bytes = field(repr=False)


class Watches:
    """Hands out flow ids, and records in the workers' voice tables."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._key = os.urandom(16)
        # Not from 1: what a supervisor before this one left in shared memory must not look ours.
        self._watch = int.from_bytes(os.urandom(6))

    def flow_id(self, worker: int, row: FlowRow) -> str:
        """The id of a flow."""
        return f"{worker}.{row.slot}.{self._fingerprint(row.address)}"

    def follow(self, flow_ids: Sequence[str], now_ms: int) -> list[tuple[Post, WatchOrder]]:
        """Watch these flows for another minute; where to find what is known of each.

        The caller has the crew tell its workers (`Crew.give`). Raises UnknownFlow (an id that is
        not ours, or a flow that is gone) and TooManyWatches; then nothing has changed.
        """
        places = [self._place(flow_id, now_ms) for flow_id in flow_ids]
        before = {post.number: post.watches for post in self._crew.posts}
        try:
            return [(place.post, self._order(place, now_ms)) for place in places]
        except TooManyWatches:
            for post in self._crew.posts:
                post.watches = before[post.number]
            raise

    def _order(self, place: _Place, now_ms: int) -> WatchOrder:
        post = place.post
        live = [order for order in post.watches if order.until_ms > now_ms]
        known = next((order for order in live if order.address == place.address), None)
        others = [order for order in live if order is not known]
        record, watch = (known.record, known.watch) if known else self._free(others)
        order = WatchOrder(record, watch, place.address, now_ms + LINGER_MS)
        post.watches = (*others, order)
        return order

    def _free(self, taken: Sequence[WatchOrder]) -> tuple[int, int]:
        free = set(range(MAX_WATCHED)) - {order.record for order in taken}
        if not free:
            raise TooManyWatches(f"{MAX_WATCHED} flows of one worker are watched already")
        self._watch += 1
        return min(free), self._watch

    def _place(self, flow_id: str, now_ms: int) -> _Place:
        worker, slot, fingerprint = _parts(flow_id)
        if worker < len(self._crew.posts):
            post = self._crew.posts[worker]
            rows, _ = post.memory.flows.rows(slot, 1, now_ms)
            if rows and rows[0].slot == slot and self._is_of(fingerprint, rows[0].address):
                return _Place(post, rows[0].address)
        raise UnknownFlow("no live flow has that flow_id")

    def _is_of(self, fingerprint: str, address: bytes) -> bool:
        return hmac.compare_digest(fingerprint.encode(), self._fingerprint(address).encode())

    def _fingerprint(self, address: bytes) -> str:
        return hmac.digest(self._key, address, "sha256")[:_FINGERPRINT_BYTES].hex()


def health_of(post: Post, order: WatchOrder) -> VoiceHealth | None:
    """What a worker has found about a flow; None before it has heard of the order."""
    health = post.memory.sight.voice.read(order.record)
    return health if health.watch == order.watch else None


def _parts(flow_id: str) -> tuple[int, int, str]:
    parts = flow_id.split(".")
    if len(parts) != 3 or len(flow_id) > 64 or not all(p.isascii() for p in parts):
        raise UnknownFlow("flow_id is not one that ListFlows gave out")
    worker, slot, fingerprint = parts
    if not (worker.isdecimal() and slot.isdecimal() and fingerprint.isalnum()):
        raise UnknownFlow("flow_id is not one that ListFlows gave out")
    return int(worker), int(slot), fingerprint
