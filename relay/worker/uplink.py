"""Client → transceiver: a batch of packets in, a batch of trunk datagrams out.

No I/O and no clock. A batch goes through in whole-array steps; only STUN requests (one packet in
a hundred of a live call) and the cut into datagrams are looked at one by one:

    classify by first byte → STUN requests by ufrag, all others by address → group by node
    → trunk datagrams (`relay.worker.trunk_writer`)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from datagram.mmsg import ReceiveBatch, packed_address
from relay.shared.counters import Counter, Counts, drop
from relay.shared.flows import FlowTable, Put
from relay.shared.nodes import NO_EPOCH, FlowOwner, NodeTable
from relay.shared.rates import Rates
from relay.worker.admission import Admission, Check
from relay.worker.claims import Claims
from relay.worker.faults import Faults
from relay.worker.fresh_checks import FreshChecks
from relay.worker.limits import Mask, SourceLimits
from relay.worker.recovery import Recovery
from relay.worker.trunk_writer import Indexes, TrunkWriter
from relay.worker.uplink_few import FEW, FewUplink
from wire.errors import WireError
from wire.trunk import longest_packet, max_payload

_NOT_WEBRTC, _STUN, _BY_ADDRESS = 0, 1, 2
_KINDS = bytes(  # by first byte, RFC 7983 §7
    _STUN
    if first <= 3
    else _BY_ADDRESS
    if 20 <= first <= 63 or 128 <= first <= 191
    else _NOT_WEBRTC
    for first in range(256)
)
BY_ADDRESS = frozenset(first for first, kind in enumerate(_KINDS) if kind == _BY_ADDRESS)
_ALL_BY_ADDRESS = bytes([_BY_ADDRESS])
_UNROUTED = -1
_LIMITED = -1  # instead of a length: the source sends too much
_PORT_SHIFT = np.uint64(16)
_PORT_MASK = np.uint64(0xFFFF)
_CACHE_LINE = 64


def slot_bytes(mtu: int) -> int:
    """Room for a client's packet, and a byte more, so that one that was cut shows."""
    return (longest_packet(mtu) // _CACHE_LINE + 1) * _CACHE_LINE


class Uplink:
    """Routes one worker's received batches. Counts everything it drops."""

    def __init__(
        self,
        received: ReceiveBatch,
        flows: FlowTable,
        nodes: NodeTable,
        admission: Admission,
        writer: TrunkWriter,
        counts: Counts,
        mtu: int,
        limits: SourceLimits | None = None,
        recovery: Recovery | None = None,
        fresh: FreshChecks | None = None,
        faults: Faults | None = None,
        claims: Claims | None = None,
    ) -> None:
        self._faults = faults or Faults(counts)
        self._claims = claims
        self._fresh = fresh
        self._recovery = recovery
        self._limits = limits or SourceLimits(Rates())
        self._received = received
        self._flows = flows
        self._nodes = nodes
        self._admission = admission
        self._writer = writer
        self._counts = counts
        self._max_payload = max_payload(mtu)
        self._longest = longest_packet(mtu)
        self._octets = received.slots.data.cast("B")
        self._is_counted = self._has_long = False  # of the batch under way
        self._few = FewUplink(received, flows, nodes, writer, self._max_payload, BY_ADDRESS)

    def route(self, count: int, now_ms: int, unix_s: int) -> int:
        """Route the first `count` received packets; returns how many trunk datagrams to send."""
        counts = self._counts
        self._is_counted = self._has_long = False
        if count <= FEW and not self._limits.holds_packets:
            datagrams = self._few.route(count, now_ms, unix_s)
            if datagrams is not None:
                counts[Counter.UP_BATCHES] += 1
                counts[Counter.UP_PACKETS] += count
                counts[Counter.UP_BYTES] += sum(self._received.lengths[:count].tolist())
                counts[Counter.UP_FORWARDED] += count
                counts[Counter.UP_DATAGRAMS] += datagrams
                return datagrams
        lengths = self._received.lengths[:count].astype(np.int64)
        counts[Counter.UP_BATCHES] += 1
        counts[Counter.UP_PACKETS] += count
        counts[Counter.UP_BYTES] += int(lengths.sum())
        self._is_counted = True
        if self._limits.holds_packets:
            addresses = self._received.names[:count, 1:3]
            lengths[~self._limits.packets(addresses, now_ms)] = _LIMITED
        owners = self._owners(count, lengths, now_ms)
        routed = (owners >= 0).nonzero()[0]
        if not routed.size:
            return 0
        nodes = owners[routed]
        if nodes.min() != nodes.max():
            order = nodes.argsort(kind="stable")  # keeps each client's packets in order
            routed, nodes = routed[order], nodes[order]
        datagrams = self._write(routed, nodes, lengths[routed], unix_s)
        counts[Counter.UP_FORWARDED] += routed.size
        counts[Counter.UP_DATAGRAMS] += datagrams
        return datagrams

    def take_back(self, count: int) -> None:
        """The batch of `count` that raised in `route` comes again: count it as not received."""
        if self._is_counted:
            self._counts[Counter.UP_BATCHES] -= 1
            self._counts[Counter.UP_PACKETS] -= count
            self._counts[Counter.UP_BYTES] -= int(self._received.lengths[:count].sum())

    def give_up(self, error: Exception) -> None:
        """The one packet of the batch raised `error` in `route`: it was received, and is lost."""
        if not self._is_counted:
            self._counts[Counter.UP_BATCHES] += 1
            self._counts[Counter.UP_PACKETS] += 1
            self._counts[Counter.UP_BYTES] += int(self._received.lengths[0])
        self._faults.note(Counter.DROP_UP_FAULT, error)

    def _write(self, routed: Indexes, nodes: Indexes, lengths: Indexes, unix_s: int) -> int:
        if not self._has_long:
            return self._writer.write(routed, nodes, lengths, unix_s)
        self._counts[Counter.UP_SPLIT] += np.count_nonzero(lengths > self._max_payload)
        return self._writer.write_long(routed, nodes, lengths, unix_s)

    def _owners(self, count: int, lengths: Indexes, now_ms: int) -> Indexes:
        """Node index for each packet, -1 for those that were dropped (and counted)."""
        slots = self._received.slots
        kinds = slots[:count, 0].tobytes().translate(_KINDS)
        if (
            kinds.count(_ALL_BY_ADDRESS) == count
            and lengths.max() <= self._max_payload
            and lengths.min() > 0
        ):
            return self._owners_by_address(slice(count), now_ms)  # nearly every batch
        return self._owners_of_mixed(np.frombuffer(kinds, np.uint8), lengths, now_ms)

    def _owners_of_mixed(
        self, kinds: npt.NDArray[np.uint8], lengths: Indexes, now_ms: int
    ) -> Indexes:
        slots, count = self._received.slots, kinds.size
        sound = (lengths > 0) & (lengths <= self._longest) & (kinds != _NOT_WEBRTC)
        self._has_long = bool(lengths.max() > self._max_payload)
        self._count_unsound(lengths, sound)
        # Class bits 00 are a request (RFC 8489 §5); only requests carry USERNAME.
        is_request = (
            sound & (kinds == _STUN) & (slots[:count, 0] & 1 == 0) & (slots[:count, 1] & 0x10 == 0)
        )
        owners: Indexes = np.full(count, _UNROUTED)
        requests = is_request.nonzero()[0]
        if requests.size:
            self._route_requests(requests, owners, now_ms)
        # After them, so that media behind its own first check finds the flow.
        others = (sound & ~is_request).nonzero()[0]
        if others.size:
            owners[others] = self._owners_by_address(others, now_ms)
        return owners

    def _count_unsound(self, lengths: Indexes, sound: npt.NDArray[np.bool_]) -> None:
        empty = np.count_nonzero(lengths == 0)
        oversize = np.count_nonzero(lengths > self._longest)
        limited = np.count_nonzero(lengths == _LIMITED)
        strange = np.count_nonzero(~sound) - empty - oversize - limited
        self._counts[Counter.DROP_EMPTY] += empty
        self._counts[Counter.DROP_OVERSIZE] += oversize
        self._counts[Counter.DROP_PACKETS_LIMITED] += limited
        self._counts[Counter.DROP_NOT_WEBRTC] += strange

    def _owners_by_address(self, which: Indexes | slice, now_ms: int) -> Indexes:
        slots, _, _ = self._find(which)
        nodes, epochs = self._flows.owners(slots)
        owners: Indexes = nodes.astype(np.int64)
        current = self._nodes.epochs(nodes)
        live = (slots >= 0) & (current == epochs)
        if live.all():
            self._flows.touch(slots, now_ms)
            return owners
        # Before siblings are asked, or a flood of strangers spends what they can be asked.
        unknown = slots < 0
        limited = unknown & ~self._admitted(which, unknown, self._limits.unknown_media, now_ms)
        if self._taken_over(which, unknown & ~limited, now_ms):
            slots, _, _ = self._find(which)  # all: a flow that came may have pushed out another
        return self._owners_of_known(which, slots, limited, now_ms)

    def _owners_of_known(
        self, which: Indexes | slice, slots: Indexes, limited: Mask, now_ms: int
    ) -> Indexes:
        """Owners of what has a live flow; the rest is kept or counted."""
        nodes, epochs = self._flows.owners(slots)
        current = self._nodes.epochs(nodes)
        known, owners = slots >= 0, nodes.astype(np.int64)
        live = known & (current == epochs)
        self._leave(which, ~known & ~limited, now_ms)
        self._counts[Counter.DROP_RATE_LIMITED] += np.count_nonzero(~known & limited)
        self._count_unroutable(known, current == NO_EPOCH, live)
        owners[~live] = _UNROUTED
        self._flows.touch(slots[live], now_ms)
        return owners

    def _taken_over(self, which: Indexes | slice, strangers: Mask, now_ms: int) -> bool:
        """Whether siblings had some of the unknown addresses, which are known here now."""
        if self._recovery is None or not strangers.any():
            return False
        names = self._received.names[which][strangers]
        ports = names[:, 0] >> _PORT_SHIFT & _PORT_MASK
        return bool((self._recovery.take_over(names[:, 1:3], ports, now_ms) >= 0).any())

    def _leave(self, which: Indexes | slice, strangers: Mask, now_ms: int) -> None:
        """Nobody here knows these: keep them while others are asked, if anybody can be."""
        if self._recovery is None:
            self._counts[Counter.DROP_UNKNOWN_ADDRESS] += np.count_nonzero(strangers)
        elif strangers.any():
            indexes = np.arange(self._received.capacity)[which][strangers]
            self._recovery.park(indexes.tolist(), now_ms)

    def _count_unroutable(
        self,
        known: npt.NDArray[np.bool_],
        no_node: npt.NDArray[np.bool_],
        live: npt.NDArray[np.bool_],
    ) -> None:
        gone = np.count_nonzero(known & no_node)
        self._counts[Counter.DROP_UNKNOWN_NODE] += gone
        self._counts[Counter.DROP_STALE_EPOCH] += np.count_nonzero(known & ~live) - gone

    def _admitted(
        self,
        which: Indexes | slice,
        unknown: Mask,
        budget: Callable[[npt.NDArray[np.uint64], int], Mask],
        now_ms: int,
    ) -> Mask:
        """Which of the packets are from unknown addresses, and within the strangers' budget."""
        admitted = unknown.copy()
        admitted[unknown] = budget(self._received.names[which][unknown, 1:3], now_ms)
        return admitted

    def _find(
        self, which: Indexes | slice
    ) -> tuple[Indexes, npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        names = self._received.names[which]
        ports = names[:, 0] >> _PORT_SHIFT & _PORT_MASK
        hashes = self._flows.hashes(names[:, 1:3], ports)
        return self._flows.find(hashes, names[:, 1:3], ports), hashes, ports

    def _route_requests(self, requests: Indexes, owners: Indexes, now_ms: int) -> None:
        self._counts[Counter.STUN_REQUESTS] += requests.size
        slots, hashes, ports = self._find(requests)
        admitted = self._admitted_requests(requests, slots < 0, hashes, now_ms)
        for position in admitted.nonzero()[0].tolist():
            index = int(requests[position])
            try:
                owners[index] = self._route_request(
                    index, int(slots[position]), hashes[position], int(ports[position]), now_ms
                )
            except WireError as error:
                self._counts[drop(error.reason)] += 1
            except Exception as error:
                self._faults.note(Counter.DROP_UP_FAULT, error)

    def _admitted_requests(
        self, requests: Indexes, unknown: Mask, hashes: npt.NDArray[np.uint64], now_ms: int
    ) -> Mask:
        """Which requests may be read: strangers by their prefix, callers each by themselves."""
        admitted = self._admitted(requests, unknown, self._limits.first_checks, now_ms)
        refused = np.count_nonzero(unknown & ~admitted)
        known = ~unknown
        admitted[known] = self._limits.checks(hashes[known], now_ms)
        self._counts[Counter.DROP_RATE_LIMITED] += refused
        self._counts[Counter.DROP_CHECKS_LIMITED] += np.count_nonzero(~admitted) - refused
        return admitted

    def _route_request(
        self, index: int, slot: int, hashed: np.uint64, port: int, now_ms: int
    ) -> int:
        """Node index for one STUN request, after its flow is made, moved or kept."""
        start = index * self._received.slot_bytes
        check = self._admission.read(
            bytes(self._octets[start : start + int(self._received.lengths[index])])
        )
        owner = self._owner(check, now_ms)
        current = self._nodes.epoch(owner.node)
        if current != owner.epoch:
            raise WireError("unknown_node" if current == NO_EPOCH else "stale_epoch")
        where = np.array([slot])
        nodes, epochs = self._flows.owners(where)
        if slot >= 0 and nodes[0] == owner.node and epochs[0] == owner.epoch:
            self._refuse_recording(check, index)
            # Nothing would change: the owner checks integrity, as it must anyway.
            self._flows.touch(where, now_ms)
            return owner.node
        self._admission.authenticate(check)
        if self._refuse_recording(check, index) and self._is_anothers(index, owner):
            raise WireError("stun_replay")
        if self._fresh and slot < 0:
            self._fresh.admit_address(check.ufrag, now_ms)
        address = self._received.names[index, 1:3]
        self._note(self._flows.put(hashed, address, port, *owner, now_ms))
        if self._claims:
            self._claims.checked(packed_address(self._received.names[index]), owner, now_ms)
        if self._recovery:
            self._recovery.checked_in(index, owner)
        return owner.node

    def _owner(self, check: Check, now_ms: int) -> FlowOwner:
        """Whose the call is: a claim of its ufrag goes before what the token says."""
        claimed = self._claims.owner(check.ufrag, now_ms) if self._claims else None
        return claimed or FlowOwner(check.route.node, check.route.epoch)

    def _refuse_recording(self, check: Check, index: int) -> bool:
        """Whether the check is a repeat; raise WireError if first seen from another address."""
        if self._fresh is None:
            return False
        address = packed_address(self._received.names[index])
        return self._fresh.admit(check.ufrag, check.message.transaction_id, address)

    def _is_anothers(self, index: int, owner: FlowOwner) -> bool:
        """Whether the packet's address has another owner by now, also since this batch began."""
        slots, _, _ = self._find(np.array([index]))
        nodes, epochs = self._flows.owners(slots)
        return bool(slots[0] >= 0 and (nodes[0] != owner.node or epochs[0] != owner.epoch))

    def _note(self, outcome: Put) -> None:
        if outcome is Put.FULL:
            raise WireError("flow_table_full")
        if outcome is Put.KEPT:
            return  # made by an earlier check of the same batch
        if outcome is Put.MOVED:
            self._counts[Counter.FLOWS_MOVED] += 1
            return
        self._counts[Counter.FLOWS_MADE] += 1
        self._counts[Counter.FLOWS_EVICTED] += outcome is Put.EVICTED
