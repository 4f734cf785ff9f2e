"""Who may place a call: limits, retries and refusals as callers meet them over HTTP."""

from __future__ import annotations

import asyncio

import pytest

from fleet.call_limits import CallLimits
from fleet.ending import end
from fleet.limits import LimitRules
from fleet.memory_ledger import MemoryLedger
from tests.transceiver.front_door import KEY, FakeEngine, front_door, problem
from tests.transceiver.offers import real_offer
from transceiver.call_tickets import CallTickets
from transceiver.engine import Draining, TooManyCalls
from transceiver.link_errors import BackendAbsent, BackendRefused
from transceiver.signaling.access import key_id
from transceiver.signaling.offer_policy import read_offer
from transceiver.signaling.problem import PROBLEMS, Problem
from trunkline.v1 import model_pb2

OTHER = {"Authorization": "Bearer key-two"}


async def test_calls_beyond_the_keys_limit_get_429() -> None:
    """The third call of a key is refused with Retry-After; another key's is not."""
    async with front_door(limits=LimitRules.parse("key/*: calls=2")) as door:
        for _ in range(2):
            assert (await door.post_sdp("/whip", real_offer())).status == 201
        refused = await door.post_sdp("/whip", real_offer())
        assert refused.status == 429
        assert (await problem(refused))["code"] == "limit_calls"
        assert 1 <= int(refused.headers["Retry-After"]) <= 3
        assert (await door.post_sdp("/whip", real_offer(), **OTHER)).status == 201
        assert len(door.engine.calls()) == 3


async def test_calls_that_come_too_fast_get_429() -> None:
    """The wait is at least what the rate needs; nothing is made for the refused call."""
    rules = LimitRules.parse(f"key/{key_id(KEY)}: rate=0.1")
    async with front_door(limits=rules) as door:
        assert (await door.post_sdp("/whip", real_offer())).status == 201
        refused = await door.post_sdp("/v1/realtime/calls", real_offer())
        body = await problem(refused)
        assert (body["code"], body["error"]["type"]) == ("limit_rate", "rate_limit_error")
        assert int(refused.headers["Retry-After"]) >= 9
        assert len(door.engine.calls()) == 1


@pytest.mark.parametrize(
    ("error", "code"), [(TooManyCalls("x"), "too_many_calls"), (Draining("x"), "draining")]
)
async def test_no_room_is_said_before_the_offer_is_read(error: Exception, code: str) -> None:
    """In a storm the cheapest refusal comes first: 503 also for what is no offer at all."""
    async with front_door() as door:
        door.engine.full = error
        refused = await door.post_sdp("/whip", "not an offer")
        assert (refused.status, (await problem(refused))["code"]) == (503, code)
        assert refused.headers["Retry-After"]


async def test_a_call_that_was_not_taken_gives_its_place_back() -> None:
    """A refusal by the backend uses up nothing of the key's limit."""
    async with front_door(limits=LimitRules.parse("key/*: calls=1")) as door:
        door.engine.refusal = BackendRefused("busy")
        for _ in range(3):
            assert (await door.post_sdp("/whip", real_offer())).status == 503
        door.engine.refusal = None
        assert (await door.post_sdp("/whip", real_offer())).status == 201


@pytest.mark.parametrize("error", [BackendAbsent("lost"), BackendRefused("full"), TimeoutError()])
async def test_a_tenth_of_the_calls_may_be_tried_again(error: Exception) -> None:
    """Of 40 calls that no backend takes at most four are tried twice."""
    async with front_door() as door:
        door.engine.refusal = error
        for _ in range(40):
            assert (await door.post_sdp("/whip", real_offer())).status == 503
        assert len(door.engine.ended) == 44


async def test_a_second_try_that_works_is_a_call() -> None:
    """The caller gets an answer and hears nothing of the first backend's trouble."""
    async with front_door() as door:
        for _ in range(10):
            await door.post_sdp("/whip", real_offer())
        door.engine.refusals = [BackendAbsent("no answer")]
        assert (await door.post_sdp("/whip", real_offer())).status == 201
        assert len(door.engine.calls()) == 11
        assert door.engine.ended == [("rtc_11", "failed")]


@pytest.mark.parametrize("code", [code for code in PROBLEMS if PROBLEMS[code][0] in (429, 503)])
def test_every_such_refusal_says_when_to_come_back(code: str) -> None:
    """Not all at the same moment, and never before the wait that is known."""
    waits = {int(Problem(code, "d", retry_after_s=60).headers["Retry-After"]) for _ in range(200)}
    assert min(waits) > 60
    assert len(waits) > 2


async def test_a_long_wait_is_spread_wider() -> None:
    """Those whose budget begins anew at the hour come back over a tenth of it."""
    problems = (Problem("limit_tokens", "d", retry_after_s=3600) for _ in range(300))
    waits = [int(refused.headers["Retry-After"]) for refused in problems]
    assert max(waits) - min(waits) > 180


async def test_a_used_up_budget_ends_the_calls_of_its_key() -> None:
    """Usage that the backend reports ends them with a reason; calls of other keys go on."""
    engine = FakeEngine()
    limits = CallLimits(MemoryLedger(), LimitRules.parse("key/*: tokens=100"), charge_interval_s=0)
    tickets, worker = CallTickets(limits, engine), asyncio.create_task(limits.run())
    offer = read_offer(real_offer()).offer
    for key in ("a", "a", "b"):
        async with tickets.ticket(key, "") as ticket:
            tickets.bind(ticket, engine.create_call(offer, "whip", "").call_id)
    ended = asyncio.Event()
    engine.listen_ended(lambda _call: ended.set())
    tickets.used("rtc_1", model_pb2.Usage(input_tokens=60, output_tokens=40))
    tickets.used("rtc_gone", model_pb2.Usage(input_tokens=1000))
    await ended.wait()
    assert engine.ended == [("rtc_1", "budget"), ("rtc_2", "budget")]
    assert len(tickets) == 1
    await end([worker])


async def test_a_call_that_ended_before_it_was_bound_leaves_no_ticket() -> None:
    """A backend may hang up in the moment it takes a call."""
    limits = CallLimits(MemoryLedger(), LimitRules())
    tickets = CallTickets(limits, FakeEngine())
    async with tickets.ticket("k", "") as ticket:
        tickets.bind(ticket, "rtc_gone")
    assert (len(tickets), limits.live) == (0, 0)


def test_a_key_is_never_its_id() -> None:
    """What operators and logs see of a key does not open anything."""
    assert key_id(KEY).startswith("k_")
    assert KEY not in key_id(KEY)
    assert key_id(KEY) != key_id(KEY + "x")
