"""Calls that change their node, as `trunkline top` sees them."""

from __future__ import annotations

from cli.journeys import REMEMBERED, SHOWN, Journey, Journeys
from cli.tables import journeys_table
from trunkline.v1 import admin_pb2


def call(name: str, state: str = "connected") -> admin_pb2.Call:
    return admin_pb2.Call(call_id=name, state=state)


def test_a_call_that_stays_is_no_journey() -> None:
    """Nor is one that is new, or that has ended."""
    journeys = Journeys()
    assert journeys.saw([("n1", call("a"))]) == []
    assert journeys.saw([("n1", call("a")), ("n2", call("b"))]) == []
    assert journeys.saw([]) == []


def test_a_move_is_seen_while_it_lasts_and_afterwards() -> None:
    """Its old node may still name it."""
    journeys = Journeys()
    journeys.saw([("n1", call("a"))])
    assert journeys.saw([("n1", call("a", "moving"))]) == [Journey("a", "n1", "")]
    both = [("n2", call("a")), ("n1", call("a", "moving"))]
    assert Journey("a", "n1", "n2") in journeys.saw(both)
    assert journeys.saw([("n2", call("a"))]) == [Journey("a", "n1", "n2")]


def test_a_call_of_a_lost_node_is_seen_when_somebody_has_it() -> None:
    """Between the two it is nowhere."""
    journeys = Journeys()
    journeys.saw([("n1", call("a"))])
    for _ in range(REMEMBERED - 1):
        assert journeys.saw([]) == []
    assert journeys.saw([("n2", call("a"))]) == [Journey("a", "n1", "n2")]


def test_what_is_kept_is_bounded() -> None:
    """The newest journeys, and calls of the last rounds."""
    journeys = Journeys()
    names = [f"c{number}" for number in range(3 * SHOWN)]
    journeys.saw([("n1", call(name)) for name in names])
    shown = journeys.saw([("n2", call(name)) for name in names])
    assert [one.call_id for one in shown] == names[: -SHOWN - 1 : -1]
    for _ in range(REMEMBERED):
        journeys.saw([])
    assert journeys.saw([("n3", call("c0"))])[0].at == "n2"


def test_the_table_has_a_row_for_each() -> None:
    """Names are not markup."""
    assert journeys_table([Journey("a", "[b]", ""), Journey("c", "d", "e")]).row_count == 2
