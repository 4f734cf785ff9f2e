"""Which calls move so that all transceivers are used alike."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cli.balance import Share, Step, plan


def test_a_new_node_gets_its_part() -> None:
    """After a scale-up calls go to the empty one, from the fullest first."""
    steps = plan([Share("a", 6, 10), Share("b", 6, 10), Share("c", 0, 10)])
    assert Counter(step.target for step in steps) == {"c": 4}
    assert Counter(step.source for step in steps) == {"a": 2, "b": 2}


def test_what_is_even_stays() -> None:
    """A difference of one call is none, and nobody moves to a fleet of one, or of no places."""
    assert plan([Share("a", 5, 10), Share("b", 4, 10)]) == []
    assert plan([Share("a", 5, 10)]) == []
    assert plan([]) == []
    assert plan([Share("a", 5, 0), Share("b", 0, 0)]) == []


def test_a_node_of_more_places_has_more_calls() -> None:
    """Its part is that of its places."""
    assert plan([Share("small", 4, 10), Share("large", 8, 20)]) == []
    assert plan([Share("small", 6, 10), Share("large", 6, 20)]) == [Step("small", "large")] * 2


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 100)), min_size=1, max_size=6))
def test_every_plan_ends_even(figures: list[tuple[int, int]]) -> None:
    """No call is made up or lost, and no two nodes are more than two calls from their parts."""
    shares = [Share(str(n), calls, places) for n, (calls, places) in enumerate(figures)]
    calls = {share.name: share.calls for share in shares}
    for step in plan(shares):
        calls[step.source] -= 1
        calls[step.target] += 1
    places = sum(share.capacity for share in shares)
    parts = {s.name: sum(calls.values()) * s.capacity / places for s in shares}
    assert min(calls.values()) >= 0
    beyond = [calls[name] - part for name, part in parts.items()]
    assert max(beyond) - min(beyond) <= 2
