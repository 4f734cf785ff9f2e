"""Who takes all it can leaves as much to others; places of calls that never connect come back."""

from __future__ import annotations

import pytest

from tests.transceiver.front_door import FrontDoor, front_door, problem
from tests.transceiver.offers import real_offer
from transceiver.call.principal import Principal
from transceiver.signaling.shares import Shares

GREEDY, OTHER, THIRD = (Principal(name, name) for name in ("greedy", "other", "third"))
CALLS = "/v1/realtime/calls"
TWO = {"Authorization": "Bearer key-two"}


def filled(shares: Shares, principal: Principal, places: int) -> int:
    """How many places it gets, of so many, when it asks for all."""
    got = 0
    while shares.may_take(principal, places - shares.total):
        shares.take(principal)
        got += 1
    return got


def test_one_gets_half_two_get_thirds() -> None:
    """And whoever comes last still gets something."""
    assert filled(Shares(), GREEDY, 1000) == 500
    shares = Shares()
    filled(shares, GREEDY, 900)
    assert filled(shares, OTHER, 900) == 225
    assert filled(shares, THIRD, 900) > 100


def test_a_page_leaves_places_to_the_other_pages_of_its_tenant() -> None:
    """And to their server, and those to other tenants."""
    page, neighbour = Principal("greedy", "k", "s1"), Principal("greedy", "k", "s2")
    shares = Shares()
    assert 300 <= filled(shares, page, 1000) <= 334
    assert filled(shares, neighbour, 1000) > 50
    assert filled(shares, GREEDY, 1000) > 10
    assert filled(shares, OTHER, 1000) > 200


def test_the_last_place_is_given() -> None:
    """To whoever has none; to nobody when there is none."""
    assert filled(Shares(), GREEDY, 1) == 1
    assert filled(Shares(), Principal("t", "k", "s"), 1) == 1
    assert filled(Shares(), GREEDY, 0) == 0


def test_what_is_given_back_is_forgotten() -> None:
    """Nothing is kept of who holds nothing."""
    shares = Shares()
    for principal in (GREEDY, Principal("t", "k", "s")):
        shares.take(principal)
        shares.give_back(principal)
    assert (shares.total, len(shares._held)) == (0, 0)


async def placed(door: FrontDoor, count: int, **headers: str) -> int:
    """How many of so many offers were taken; all others were refused for the same reason."""
    taken = 0
    for _ in range(count):
        answer = await door.post_sdp(CALLS, real_offer(), **headers)
        taken += answer.status == 201
        if answer.status != 201:
            assert answer.status == 429
            assert answer.headers["Retry-After"]
            assert (await problem(answer))["code"] == "limit_unconnected"
    return taken


async def test_offers_that_never_connect_leave_room_for_others() -> None:
    """One key gets half of the places; another still calls, and an offer that is refused for it is
    refused before it is read."""
    async with front_door() as door:
        door.engine.places = 20
        assert await placed(door, 15) == 10
        bad = await door.post_sdp(CALLS, "no sdp")
        assert (await problem(bad))["code"] == "limit_unconnected"
        assert await placed(door, 1, **TWO) == 1


@pytest.mark.parametrize("how", ["connect", "end"])
async def test_a_call_that_connects_or_ends_makes_room(how: str) -> None:
    """What is connected counts no longer as what is not."""
    async with front_door() as door:
        door.engine.places = 20
        assert await placed(door, 11) == 10
        for session in door.engine.calls()[:5]:
            if how == "connect":
                door.engine.connect(session.call_id)
            else:
                door.engine.end(session.call_id, "timeout")
        assert await placed(door, 1) == 1


async def test_a_refused_offer_holds_nothing() -> None:
    """Whatever it was refused for."""
    async with front_door() as door:
        door.engine.places = 4
        for _ in range(9):
            assert (await door.post_sdp(CALLS, "no sdp")).status == 400
        assert await placed(door, 2) == 2
