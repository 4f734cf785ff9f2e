"""Reads the flow tables of the other workers.

The kernel spreads clients over the workers' sockets by a hash that changes with their number, and a
relay that takes over from another starts with empty tables. A packet whose address is unknown here
may so be an old friend next door. Nobody is asked and nothing is locked: the table next door is
looked up like one's own, and a flow whose node has its epoch still is copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relay.shared.claims import ClaimMaps, Turns
from relay.shared.flows import U64, FlowTable
from relay.shared.nodes import NodeTable
from relay.worker.allowance import Allowance

Nodes = npt.NDArray[np.int64]

# Tables looked up per second and worker, whatever strangers send: each costs some 60 µs a batch.
LOOKUPS_PER_S = 4000
_NOBODY = -1


@dataclass
class Sibling:
    """Another worker's memory, to read until a monotonic time if its relay is no more.

    `followed` is the order of the newest claim there that was followed here.
    """

    flows: FlowTable
    claims: ClaimMaps
    turns: Turns
    until_ms: int | None = None
    followed: int = 0


class Siblings:
    """Finds live flows in other workers' tables."""

    def __init__(self, nodes: NodeTable, flow_idle_ms: int) -> None:
        self._nodes = nodes
        self._flow_idle_ms = flow_idle_ms
        self._siblings: list[Sibling] = []
        self._lookups = Allowance(LOOKUPS_PER_S, LOOKUPS_PER_S)

    def __len__(self) -> int:
        return len(self._siblings)

    def __iter__(self) -> Iterator[Sibling]:
        return iter(self._siblings)

    def add(self, siblings: Sequence[Sibling]) -> None:
        """Read these too."""
        self._siblings.extend(siblings)

    def retire(self, now_ms: int) -> None:
        """Let go of tables whose time is over."""
        if any(_is_over(sibling, now_ms) for sibling in self._siblings):
            self._siblings = [s for s in self._siblings if not _is_over(s, now_ms)]

    def owners(self, addresses: U64, ports: U64, now_ms: int) -> tuple[Nodes, Nodes]:
        """Node indexes (-1: nobody's) and epochs for n addresses (words and ports as in `hashes`).

        Where several have an address, the one that saw it last is right.
        """
        owners = np.full(len(ports), _NOBODY)
        owner_epochs = np.zeros_like(owners)
        freshest = np.full(len(ports), self._flow_idle_ms)
        for flows in self._tables(now_ms):
            slots = flows.find(flows.hashes(addresses, ports), addresses, ports)
            nodes, epochs = flows.owners(slots)
            idle_ms = flows.idle_ms(slots, now_ms)
            better = (slots >= 0) & (self._nodes.epochs(nodes) == epochs) & (idle_ms < freshest)
            owners[better], owner_epochs[better] = nodes[better], epochs[better]
            freshest[better] = idle_ms[better]
        return owners, owner_epochs

    def _tables(self, now_ms: int) -> list[FlowTable]:
        """The tables to look up now: none when strangers have used up this second's look-ups."""
        affordable = self._lookups.spend(len(self._siblings), now_ms)
        return [sibling.flows for sibling in self._siblings] if affordable else []


def _is_over(sibling: Sibling, now_ms: int) -> bool:
    return sibling.until_ms is not None and sibling.until_ms <= now_ms
