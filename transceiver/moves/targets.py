"""Which process gets a call: of those that take calls, the one that has most room. Pure.

Two of the candidates are drawn, and the less used of them is asked first. Loads in the directory
are some seconds old. If everybody asked the emptiest, all calls of a drain would go to it.

A process of the same Pod is nobody's favourite. When a Pod ends, all its processes drain, and calls
that are spread over the fleet have fewer moves before them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from fleet.directory.directory import Node

MAX_TRIES = 3  # processes that are asked for one call, before it waits for another try


def candidates(nodes: Iterable[Node], own: int) -> list[Node]:
    """Nodes that may take a call of the node `own`, as far as the directory knows."""
    return [node for node in nodes if node.index != own and _takes(node)]


def in_order(
    nodes: Iterable[Node], chance: Callable[[], float] = random.random, most: int = MAX_TRIES
) -> list[Node]:
    """At most so many of them, in the order in which they are asked. `chance` gives 0 to 1."""
    left = list(nodes)
    chosen: list[Node] = []
    while left and len(chosen) < most:
        drawn = [left[int(chance() * len(left)) % len(left)] for _ in range(2)]
        best = min(drawn, key=used)
        left.remove(best)
        chosen.append(best)
    return chosen


def used(node: Node) -> float:
    """The share of its places that is taken; a node that does not say counts as half full."""
    load = node.load
    return load.calls / load.capacity if load is not None and load.capacity else 0.5


def _takes(node: Node) -> bool:
    return node.live and not node.draining and node.http is not None and used(node) < 1.0
