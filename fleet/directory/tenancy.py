"""What a process is in its cluster, as a value: which index it holds, and whether it drains.

Everything that follows from it (the route of new calls, whether calls are taken, the timer of a
drain) is made anew from the whole value after each change, and before anybody is asked about
anything. So no order of lost leases, drains and late answers can leave two of them disagreeing.
Pure: events in, values out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleet.directory.store import Lease


@dataclass(frozen=True, slots=True)
class Tenancy:
    """`drain_ends_s` is when live calls end, on the loop's clock; None: never.

    `told` is what relays have heard of this lease, whether it drains. `leaving` processes drain for
    good.
    """

    lease: Lease | None = None
    draining: bool = False
    drain_ends_s: float | None = None
    leaving: bool = False
    told: bool = False

    @property
    def ready(self) -> bool:
        """Whether new calls may come: they can be routed here, and nobody asked for a drain."""
        return self.lease is not None and not self.draining

    @property
    def settled(self) -> bool:
        """Whether the store has heard all that there is to say."""
        return self.lease is not None and self.told == self.draining

    def claimed(self, lease: Lease) -> Tenancy:
        """The store gave an index, and told relays that calls may come."""
        return replace(self, lease=lease, told=False)

    def renewed(self, lease: Lease, *, draining: bool) -> Tenancy:
        """The store knows that this lease goes on, and whether it drains."""
        return replace(self, told=draining) if lease is self.lease else self

    def lost(self, lease: Lease) -> Tenancy:
        """Somebody else has the index; a wish to drain stays."""
        return replace(self, lease=None, told=False) if lease is self.lease else self

    def drained(self, ends_s: float | None) -> Tenancy:
        """An operator wants no new calls; live ones may go on until `ends_s`."""
        return self if self.leaving else replace(self, draining=True, drain_ends_s=ends_s)

    def undrained(self) -> Tenancy:
        """The operator thought better of it. Who leaves, leaves."""
        return self if self.leaving else replace(self, draining=False, drain_ends_s=None)

    def left(self) -> Tenancy:
        """The process is to end, which has a deadline of its own (`transceiver.pod.leaving`)."""
        return replace(self, draining=True, drain_ends_s=None, leaving=True)

    def over(self, ends_s: float) -> Tenancy:
        """The deadline `ends_s` has passed; once."""
        return replace(self, drain_ends_s=None) if ends_s == self.drain_ends_s else self
