"""Whose a call is, when it is not the node's that its token names.

A claim (`wire.claim`) is believed from a sender that the directory has with its current epoch, and
for an owner that it has as well: the trunk's tag proves that somebody has the fleet's key, and a
process that was lost has it too. An owner that the directory does not have yet could not be sent to
either; the claim comes again, and by then it has.

    STUN request       its ufrag's claim goes before its token
    flow               follows a claim of its address: here at once, next door at the next turn
    unknown address    a claim of it goes before what siblings' tables and the store say

A check is newer than any claim of its address. So where a check makes or moves a flow whose address
was claimed for another, that is written down like a claim, for all workers.

What workers say of one name is ordered by time, and the newest holds; all of them read one clock.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from relay.shared.claims import ClaimMaps, address_name, ufrag_name
from relay.shared.counters import Counter, Counts
from relay.shared.flows import U64, FlowTable
from relay.shared.nodes import FlowOwner, NodeTable
from relay.shared.owner_map import OWNER_AND_FENCED, Entry, OwnerMap
from relay.worker.admission import Admission
from relay.worker.allowance import Allowance
from relay.worker.siblings import Siblings
from wire.claim import NOBODY, NOWHERE, Claim, node_and_epoch, sender
from wire.errors import WireError

CLAIMS_PER_S = 10_000  # some 30 µs each; all calls of a full relay at once, and then again
ADDRESS_MS = 60_000  # a claimed address counts for so long; live calls are claimed each 20 s
_ORDERS_PER_MS = 1 << 20
_MAX_ORDER = 2**64 - 1
_HALF = np.uint64(32)
_LOW_16 = np.uint64(0xFFFF)


class Claims:
    """What one worker knows of claims: its own, and those of `siblings`. Times are ms."""

    def __init__(
        self,
        own: ClaimMaps,
        siblings: Siblings,
        flows: FlowTable,
        nodes: NodeTable,
        admission: Admission,
        counts: Counts,
    ) -> None:
        self._own = own
        self._siblings = siblings
        self._flows = flows
        self._nodes = nodes
        self._admission = admission
        self._counts = counts
        self._allowance = Allowance(CLAIMS_PER_S, CLAIMS_PER_S)
        self._is_new = True  # a worker before this one may have left claims in our own memory
        self.are_some = False  # nearly always nobody has claimed anything, and nothing is looked up

    def owner(self, ufrag: str, now_ms: int) -> FlowOwner | None:
        """Who has claimed the call of a ufrag."""
        if not self.are_some:
            return None
        name = ufrag_name(ufrag)
        entry = self._newest(name, ufrags=True)
        if entry is None:
            return None
        self._keep(self._own.by_ufrag, name, entry, now_ms)
        self._counts[Counter.CHECKS_CLAIMED] += 1
        return FlowOwner(*node_and_epoch(entry.owner))

    def owner_at(self, address: bytes, now_ms: int) -> FlowOwner | None:
        """Who has claimed an 18-byte address lately, if that is a node of now."""
        if not self.are_some:
            return None
        name = address_name(address)
        entry = self._newest(name, ufrags=False)
        if entry is None or not self._nodes.knows_sender(entry.owner):
            return None
        used_ms = max(maps.by_address.used_ms(name) for maps in self._maps())
        return FlowOwner(*node_and_epoch(entry.owner)) if now_ms - used_ms < ADDRESS_MS else None

    def checked(self, address: bytes, owner: FlowOwner, now_ms: int) -> None:
        """A check has given the address to this owner."""
        if not self.are_some:
            return
        name, number = address_name(address), sender(*owner)
        entry = self._newest(name, ufrags=False)
        if entry is not None and entry.owner != number:
            self._put(self._own.by_address, name, number, NOBODY, now_ms)

    def carry_out(self, claim: Claim, now_ms: int) -> None:
        """Make it so, in this worker; the others follow.

        Raises WireError `trunk_claim_limited`, `trunk_claim_token` or `trunk_claim_owner`.
        """
        if not self._allowance.spend(1, now_ms):
            raise WireError("trunk_claim_limited")
        if not self._admission.is_ours(claim.ufrag):
            raise WireError("trunk_claim_token")
        if claim.owner == claim.fenced or not self._nodes.knows_sender(claim.owner):
            raise WireError("trunk_claim_owner")
        if claim.fenced != NOBODY:
            self._nodes.fence(*node_and_epoch(claim.fenced))
        self.are_some = True
        name = ufrag_name(claim.ufrag)
        known = self._newest(name, ufrags=True)
        if known is None or known.owner != claim.owner:
            self._put(self._own.by_ufrag, name, claim.owner, claim.fenced, now_ms)
            self._claim_address(claim, now_ms)
        else:
            self._keep(self._own.by_ufrag, name, known, now_ms)
            self._keep_address(claim, now_ms)
        self._counts[Counter.CLAIMS] += 1

    def follow(self) -> None:
        """Do what was claimed next door since the last turn. At the beginning of each turn."""
        for sibling in self._siblings:
            if sibling.claims.newest != sibling.followed:
                self._follow()
                return
        if self._is_new:
            self._follow()

    def _follow(self) -> None:
        # Read before what it is about: what comes meanwhile is followed at the next turn.
        orders = [(sibling, sibling.claims.newest) for sibling in self._siblings]
        news = [(sibling.claims, sibling.followed) for sibling in self._siblings]
        if self._is_new:
            news.append((self._own, 0))
        self._repoint(np.concatenate([m.by_address.since(order) for m, order in news]))
        self._fence(np.concatenate([m.by_ufrag.since(order) for m, order in news]))
        for sibling, order in orders:
            sibling.followed = order
        self._is_new = False
        self.are_some = any(maps.newest for maps in self._maps())

    def _fence(self, rows: U64) -> None:
        """What a relay before or after this one has fenced; of this one it is done already."""
        for fenced in np.unique(rows[:, OWNER_AND_FENCED] >> _HALF).tolist():
            if fenced != NOBODY:
                self._nodes.fence(*node_and_epoch(fenced))

    def _repoint(self, rows: U64) -> None:
        """Point the flows of these addresses to whoever the newest word about each names.

        That may be another than the row's own: a row that was copied from next door comes late.
        """
        addresses, ports = rows[:, 0:2], rows[:, 2] & _LOW_16
        slots = self._flows.find(self._flows.hashes(addresses, ports), addresses, ports)
        for index in (slots >= 0).nonzero()[0].tolist():
            entry = self._newest(rows[index, :3].tobytes(), ufrags=False)
            if entry is not None:
                owner = node_and_epoch(entry.owner)
                moved = self._flows.repoint(int(slots[index]), *owner)
                self._counts[Counter.FLOWS_CLAIMED] += moved

    def _claim_address(self, claim: Claim, now_ms: int) -> None:
        if claim.address == NOWHERE:
            return
        name = address_name(claim.address)
        self._put(self._own.by_address, name, claim.owner, claim.fenced, now_ms)
        self._repoint(np.frombuffer(name, np.uint64)[None, :])

    def _keep_address(self, claim: Claim, now_ms: int) -> None:
        """A claim that is no news: what a check has said of its address since then holds."""
        if claim.address == NOWHERE:
            return
        name = address_name(claim.address)
        known = self._newest(name, ufrags=False)
        if known is None:
            self._claim_address(claim, now_ms)
        elif known.owner == claim.owner:
            self._keep(self._own.by_address, name, known, now_ms)

    def _put(self, place: OwnerMap, name: bytes, owner: int, fenced: int, now_ms: int) -> None:
        newest = max(maps.newest for maps in self._maps())
        order = min(max(now_ms * _ORDERS_PER_MS, newest + 1), _MAX_ORDER)
        place.put(name, Entry(owner, fenced, order), now_ms)
        self._own.announce(order)

    def _keep(self, place: OwnerMap, name: bytes, entry: Entry, now_ms: int) -> None:
        """Note a use of an entry; one from next door is copied, or nobody here would keep it."""
        if place.find(name) == entry:
            place.touch(name, now_ms)
        else:
            place.put(name, entry, now_ms)

    def _newest(self, name: bytes, *, ufrags: bool) -> Entry | None:
        found = None
        for maps in self._maps():
            entry = (maps.by_ufrag if ufrags else maps.by_address).find(name)
            if entry and (found is None or entry.order > found.order):
                found = entry
        return found

    def _maps(self) -> Iterator[ClaimMaps]:
        yield self._own
        for sibling in self._siblings:
            yield sibling.claims
