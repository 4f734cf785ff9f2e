"""What a fleet asks of its store about calls: who uses how much.

A call holds a place under each of its subjects. Places are leases: a process renews those of its
live calls, so the calls of one that crashed are given back when their leases expire. Tokens are
counted in windows that begin at multiples of `window_s` of the store's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fleet.limits.rules import Demand, Limits, Refusal

PLACE_LEASE_S = 30.0
RENEW_INTERVAL_S = 8.0  # three chances before a lease expires
WINDOW_S = 3600
MAX_LISTED = 1000  # subjects in one answer to an operator


@dataclass(frozen=True, slots=True)
class Usage:
    """What a subject uses: calls live now, tokens in the current window."""

    subject: str
    calls: int
    tokens: int


class Ledger(Protocol):
    """The accounts of one cluster. Every method may raise StoreUnavailable."""

    async def admit(self, call: str, options: Sequence[Sequence[Demand]]) -> int | Refusal:
        """Take a place for `call` under every subject of the first option that has room in all.

        Returns the number of that option, from 0, or the refusal that may be over soonest. It is
        one step for all processes. What is not taken costs nothing, neither places nor rate; nor
        does a place that the call has already, so asking twice is asking once.
        """

    async def hold(self, places: Mapping[str, Collection[str]]) -> None:
        """Renew (or take again, unasked) the places of live calls, by subject."""

    async def release(self, places: Mapping[str, Collection[str]]) -> None:
        """Give places back, by subject; nothing happens for those that are free already."""

    async def charge(self, tokens: Mapping[str, int]) -> dict[str, int]:
        """Add to what subjects have used; returns what each has used in this window."""

    async def usage(self) -> list[Usage]:
        """The subjects seen last, at most MAX_LISTED, by name."""

    async def changes(self) -> dict[str, Limits]:
        """Limits that operators have set, by subject."""

    async def change(self, subject: str, limits: Limits | None) -> None:
        """Set limits for a subject in the whole fleet; None: what the settings say holds again.

        Raises ValueError when MAX_RULES subjects have limits of their own.
        """

    async def close(self) -> None:
        """Let go of connections. Places stay until released or expired."""
