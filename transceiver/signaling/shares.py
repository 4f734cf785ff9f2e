"""Places that everybody shares, so that nobody can have them all.

A tenant may take a place while it holds fewer than are free; among the pages of a tenant the same
holds for each page, of what the tenant may still take. So who takes all it can leaves as much to
others as it has: one tenant gets half of the places, two get a third each, and the last place is
still given to whoever has none (Choudhury and Hahne, "Dynamic queue length thresholds", 1998).
"""

from __future__ import annotations

from collections import Counter

from transceiver.call.principal import Principal


class Shares:
    """Who holds how many places. Bounded by the places there are."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Places that are held."""
        return sum(count for name, count in self._held.items() if "/" not in name)

    def may_take(self, principal: Principal, free: int) -> bool:
        """Whether one more is its to take, when so many places are free for all."""
        of_tenant, of_page = (self._held[name] for name in _names(principal))
        if of_tenant >= free:
            return False
        return not principal.secret_id or of_page < max(1, free - of_tenant)

    def take(self, principal: Principal) -> None:
        """One more is its."""
        self._held.update(_names(principal))

    def give_back(self, principal: Principal) -> None:
        """One less; what nobody holds is forgotten."""
        for name in _names(principal):
            self._held[name] -= 1
            if self._held[name] <= 0:
                del self._held[name]


def _names(principal: Principal) -> tuple[str, str]:
    """The tenant and the page, or the server behind it; no tenant's name has a slash."""
    return principal.tenant, f"{principal.tenant}/{principal.secret_id}"
