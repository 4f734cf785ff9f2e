"""Calls that have moved away: where what still arrives for them belongs. Pure.

A relay worker learns of a move from the new owner's claim. Until then it sends here, and what comes
is passed on. The worker is told once more, in the name of the new owner, but not for every packet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from wire.claim import Claim

KEPT_S = 60.0
MAX_TOMBSTONES = 4096
REDIRECT_S = 0.02  # between two claims to one worker


@dataclass(eq=False)
class Tombstone:
    """A call that went to the owner whose trunk port is `trunk` (18 bytes)."""

    call_id: str
    trunk: bytes
    claims: tuple[Claim, ...]
    until_s: float
    redirected_s: dict[bytes, float] = field(default_factory=dict)

    def redirects(self, worker: bytes, now: float) -> bool:
        """Whether it is time to tell the worker; then it counts as told."""
        if now - self.redirected_s.get(worker, float("-inf")) < REDIRECT_S:
            return False
        self.redirected_s[worker] = now
        return True


class Tombstones:
    """By ufrag and by address of the caller. The oldest go first, at the bound or in time."""

    def __init__(self) -> None:
        self.by_ufrag: dict[str, Tombstone] = {}
        self.by_address: dict[bytes, Tombstone] = {}
        self._all: OrderedDict[str, Tombstone] = OrderedDict()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, call_id: str, trunk: bytes, claims: Sequence[Claim], now: float) -> None:
        """A call has gone there."""
        self.forget(call_id)
        self._forget_old(now)
        stone = Tombstone(call_id, trunk, tuple(claims), now + KEPT_S)
        self._all[call_id] = stone
        for claim in claims:
            self.by_ufrag[claim.ufrag] = stone
            self.by_address[claim.address] = stone

    def forget(self, call_id: str) -> None:
        """The call has come back, or nobody will ask any more."""
        stone = self._all.pop(call_id, None)
        for claim in stone.claims if stone is not None else ():
            if self.by_ufrag.get(claim.ufrag) is stone:
                del self.by_ufrag[claim.ufrag]
            if self.by_address.get(claim.address) is stone:
                del self.by_address[claim.address]

    def _forget_old(self, now: float) -> None:
        while self._all:
            call_id, oldest = next(iter(self._all.items()))
            if oldest.until_s > now and len(self._all) < MAX_TOMBSTONES:
                return
            self.forget(call_id)
