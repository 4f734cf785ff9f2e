"""Who is asked to take a call."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from fleet.directory.directory import Load, Node
from transceiver.moves.targets import MAX_TRIES, candidates, in_order
from trunkline.process.address import Address

TRUNK, HTTP = Address("127.0.0.1", 9), Address("127.0.0.1", 8)


def node(index: int, calls: int = 0, capacity: int = 10) -> Node:
    return Node(index, 1, TRUNK, f"t{index}", load=Load(calls, capacity), http=HTTP)


def test_who_may_take_a_call() -> None:
    """Not the process itself, and none that drains, is gone, is full, or cannot be asked."""
    fine = node(2)
    others = [
        replace(node(3), draining=True),
        replace(node(4), live=False),
        node(5, calls=10),
        replace(node(6), http=None),
    ]
    assert candidates([node(1), fine, *others], own=1) == [fine]


def test_the_less_used_of_two_is_asked_first() -> None:
    """So the emptier gets more, and not all at once; each is asked once, and not too many."""
    chance = random.Random(1)
    nodes = [node(index, calls) for index, calls in enumerate((0, 3, 6, 9))]
    firsts: Counter[int] = Counter()
    for _ in range(1000):
        chosen = in_order(nodes, chance.random)
        assert len({n.index for n in chosen}) == len(chosen) == MAX_TRIES
        firsts[chosen[0].index] += 1
    assert firsts[0] > firsts[1] > firsts[2] > firsts[3] > 0
    assert firsts[0] < 600


def test_nobody_is_there() -> None:
    """Then nobody is asked."""
    assert in_order([]) == []
