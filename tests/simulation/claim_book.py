"""What a relay must know of claims, said once more with dictionaries.

A relay and its successor share a book, as they read each other's memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.shared.nodes import FlowOwner
from tests.simulation.ledger import demand
from wire.claim import NOBODY, NOWHERE, Claim, node_and_epoch


@dataclass
class Flow:
    """What one table must hold of an address."""

    owner: FlowOwner
    seen_ms: int


Flows = dict[bytes, Flow]


@dataclass
class ClaimBook:
    """Whose calls and addresses are by claims, who is fenced, and what was promised of that."""

    tables: list[Flows] = field(default_factory=list)  # of all its workers
    calls: dict[str, FlowOwner] = field(default_factory=dict)
    addresses: dict[bytes, FlowOwner] = field(default_factory=dict)
    fenced: set[FlowOwner] = field(default_factory=set)
    # What CLAIMED has said: who is silent, and whose an address is for good until a check comes.
    silenced: set[FlowOwner] = field(default_factory=set)
    settled: dict[bytes, FlowOwner] = field(default_factory=dict)

    def carry_out(self, claim: Claim) -> None:
        """A claim that is to be believed."""
        if claim.fenced != NOBODY:
            self.fenced.add(FlowOwner(*node_and_epoch(claim.fenced)))
        owner = FlowOwner(*node_and_epoch(claim.owner))
        is_news = self.calls.get(claim.ufrag) != owner
        self.calls[claim.ufrag] = owner
        if claim.address != NOWHERE and (is_news or claim.address not in self.addresses):
            self._assign(claim.address, owner)

    def checked(self, address: bytes, owner: FlowOwner) -> None:
        """A check has made or moved a flow."""
        self.settled.pop(address, None)
        if self.addresses.get(address, owner) != owner:
            self._assign(address, owner)

    def answered(self, claim: Claim) -> None:
        """The relay has said CLAIMED: from now on this holds."""
        if claim.fenced != NOBODY:
            lost = FlowOwner(*node_and_epoch(claim.fenced))
            demand(lost in self.fenced, "what is answered was carried out", lost)
            self.silenced.add(lost)
        owner = FlowOwner(*node_and_epoch(claim.owner))
        if self.calls.get(claim.ufrag) == owner == self.addresses.get(claim.address):
            self.settled[claim.address] = owner

    def _assign(self, address: bytes, owner: FlowOwner) -> None:
        self.settled.pop(address, None)
        self.addresses[address] = owner
        for table in self.tables:
            if address in table:
                table[address] = Flow(owner, table[address].seen_ms)
