"""Who may place a call: limits, retries and refusals as callers meet them over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientResponse, FormData

from fleet.api_key import key_id
from fleet.ending import end
from fleet.limits.call_limits import CallLimits
from fleet.limits.memory_ledger import MemoryLedger
from fleet.limits.rules import LimitRules
from tests.transceiver.front_door import (
    KEY,
    FakeEngine,
    FakeSession,
    FrontDoor,
    front_door,
    problem,
)
from tests.transceiver.links import backend
from tests.transceiver.offers import real_offer
from transceiver.engine.call_tickets import CallTickets
from transceiver.engine.refusals import Draining, TooManyCalls
from transceiver.link.backends import Backends, Choice
from transceiver.link.errors import BackendAbsent, BackendRefused
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


def two_backends(chance: Callable[[], float] = lambda: 0.0, max_calls: int = 0) -> Backends:
    """`voice` and `lab`; at 0.0 `voice` is the first choice of who names none."""
    members = [backend("voice", max_calls=max_calls), backend("lab", max_calls=max_calls)]
    return Backends(members, chance)


async def ask_for(door: FrontDoor, name: str, **headers: str) -> ClientResponse:
    """A call whose session names a model."""
    fields = {"sdp": real_offer(), "session": f'{{"model": "{name}"}}'}
    form = FormData(fields, default_to_multipart=True)
    return await door.ask("POST", "/v1/realtime/calls", data=form, headers=headers)


def given(door: FrontDoor) -> list[str]:
    """The backends that live calls have."""
    return [session.link.backend for session in door.engine.calls()]


async def test_a_call_that_names_nothing_counts_against_its_backend() -> None:
    """A full one is passed by while another has room; all full is 429; an end makes room again."""
    rules = LimitRules.parse("model/voice: calls=1; model/lab: calls=1")
    async with front_door(limits=rules, backends=two_backends()) as door:
        placed = [await door.post_sdp("/whip", real_offer()) for _ in range(2)]
        assert [answer.status for answer in placed] == [201, 201]
        assert given(door) == ["voice", "lab"]
        refused = await door.post_sdp("/whip", real_offer())
        assert (refused.status, (await problem(refused))["code"]) == (429, "limit_calls")
        assert refused.headers["Retry-After"]
        await door.ask("DELETE", placed[0].headers["Location"])
        while (await door.post_sdp("/whip", real_offer())).status != 201:
            pass  # the place comes back in a moment
        assert given(door) == ["lab", "voice"]


async def test_who_names_a_model_gets_that_one_or_none() -> None:
    """Though the other has room, and though what is there named nothing."""
    rules = LimitRules.parse("model/voice: calls=1")
    async with front_door(limits=rules, backends=two_backends()) as door:
        assert (await door.post_sdp("/whip", real_offer())).status == 201
        refused = await ask_for(door, "voice")
        assert (refused.status, (await problem(refused))["code"]) == (429, "limit_calls")
        assert refused.headers["Retry-After"]
        assert (await door.post_sdp("/whip", real_offer())).status == 201
        assert given(door) == ["voice", "lab"]


async def test_a_model_by_another_name_has_its_own_limit_too() -> None:
    """Its calls count against that name and against the backend they were given."""
    rules = LimitRules.parse("model/gpt-realtime: calls=1; model/voice: calls=2")
    async with front_door(limits=rules, backends=two_backends()) as door:
        assert (await ask_for(door, "gpt-realtime")).status == 201
        assert (await ask_for(door, "gpt-realtime")).status == 429
        for _ in range(2):
            assert (await door.post_sdp("/whip", real_offer())).status == 201
        assert given(door) == ["voice", "voice", "lab"]


async def test_a_second_try_elsewhere_counts_there() -> None:
    """The first backend's place is free again, and the key has paid for one call."""
    numbers = [0.9, 0.0, *[0.9] * 10]  # `lab` ten times, then `voice`, and `lab` again
    rules = LimitRules.parse("key/*: calls=11; model/voice: calls=1")
    async with front_door(limits=rules, backends=two_backends(numbers.pop)) as door:
        for _ in range(10):
            assert (await door.post_sdp("/whip", real_offer())).status == 201
        door.engine.refusals = [BackendRefused("busy")]
        assert (await door.post_sdp("/whip", real_offer())).status == 201
        assert (len(door.engine.ended), given(door)) == (1, ["lab"] * 11)
        while (await ask_for(door, "voice", **OTHER)).status != 201:
            pass  # the place comes back in a moment
        assert (await ask_for(door, "voice", **OTHER)).status == 429


async def test_calls_that_come_at_once_share_the_room_there_is() -> None:
    """Twenty for two backends of ten: none is sent to the one that others have filled meanwhile."""
    async with front_door(backends=two_backends(max_calls=10)) as door:
        asks = (door.post_sdp("/whip", real_offer()) for _ in range(20))
        assert {answer.status for answer in await asyncio.gather(*asks)} == {201}
        assert sorted(given(door)) == ["lab"] * 10 + ["voice"] * 10
        refused = await door.post_sdp("/whip", real_offer())
        assert (await problem(refused))["code"] == "backend_full"
        assert refused.headers["Retry-After"]


async def test_who_was_overtaken_gets_another_backend() -> None:
    """The one that was chosen filled up before the call was opened there."""
    async with front_door(backends=two_backends(max_calls=20)) as door:
        for _ in range(10):
            assert (await door.post_sdp("/whip", real_offer())).status == 201
        voice, create = door.engine.calls()[0].link, door.engine.create_call

        def late(*asked: Any) -> FakeSession:
            voice.max_calls = 10
            return create(*asked)

        door.engine.create_call = late  # type: ignore[assignment, method-assign]
        assert (await door.post_sdp("/whip", real_offer())).status == 201
        assert given(door) == ["voice"] * 10 + ["lab"]


async def test_a_used_up_budget_of_a_model_ends_calls_that_did_not_name_it() -> None:
    """They are that model's calls all the same; what another backend has goes on."""
    engine, backends = FakeEngine(), two_backends()
    rules = LimitRules.parse("model/voice: calls=2 tokens=100")
    limits = CallLimits(MemoryLedger(), rules, charge_interval_s=0)
    tickets, worker = CallTickets(limits, engine), asyncio.create_task(limits.run())
    offer = read_offer(real_offer()).offer
    for key in ("a", "b", "c"):
        with tickets.ticket(key) as ticket:
            link = (await tickets.admit(ticket, backends.choices(""))).link
            tickets.bind(ticket, engine.create_call(offer, "whip", "", link).call_id)
    ended = asyncio.Event()
    engine.listen_ended(lambda _call: ended.set())
    tickets.used("rtc_3", model_pb2.Usage(input_tokens=1000))
    tickets.used("rtc_2", model_pb2.Usage(output_tokens=100))
    await ended.wait()
    assert engine.ended == [("rtc_1", "budget"), ("rtc_2", "budget")]
    await end([worker])


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
        with tickets.ticket(key) as ticket:
            given = await tickets.admit(ticket, [Choice(backend("voice"), ("voice",))])
            tickets.bind(ticket, engine.create_call(offer, "whip", "", given.link).call_id)
    ended = asyncio.Event()
    engine.listen_ended(lambda _call: ended.set())
    tickets.used("rtc_1", model_pb2.Usage(input_tokens=60, output_tokens=40))
    tickets.used("rtc_gone", model_pb2.Usage(input_tokens=1000))
    await ended.wait()
    assert engine.ended == [("rtc_1", "budget"), ("rtc_2", "budget")]
    assert len(tickets) == 1
    await end([worker])


async def test_what_a_call_used_before_it_was_answered_counts() -> None:
    """A backend may say so together with its yes; what ends before it is taken is forgotten."""
    engine = FakeEngine()
    limits = CallLimits(MemoryLedger(), LimitRules.parse("key/*: tokens=100"), charge_interval_s=0)
    tickets, worker = CallTickets(limits, engine), asyncio.create_task(limits.run())
    offer, link = read_offer(real_offer()).offer, backend("voice").link
    ended = asyncio.Event()
    engine.listen_ended(lambda _call: ended.set())
    with tickets.ticket("k") as ticket:
        await tickets.admit(ticket, [Choice(backend("voice"), ("voice",))])
        tickets.opened(ticket, engine.create_call(offer, "whip", "", link).call_id)
        engine.end("rtc_1", "refused")
        tickets.used("rtc_1", model_pb2.Usage(output_tokens=1000))
        tickets.opened(ticket, engine.create_call(offer, "whip", "", link).call_id)
        tickets.used("rtc_2", model_pb2.Usage(output_tokens=99))
        tickets.bind(ticket, "rtc_2")
    ended.clear()
    tickets.used("rtc_2", model_pb2.Usage(output_tokens=1))
    await ended.wait()
    assert engine.ended == [("rtc_1", "refused"), ("rtc_2", "budget")]
    assert [used.tokens for used in await limits.usage()] == [100]
    assert (len(tickets), limits.live) == (0, 0)
    await end([worker])


async def test_a_call_that_ended_before_it_was_bound_leaves_no_ticket() -> None:
    """A backend may hang up in the moment it takes a call."""
    limits = CallLimits(MemoryLedger(), LimitRules())
    tickets = CallTickets(limits, FakeEngine())
    with tickets.ticket("k") as ticket:
        await tickets.admit(ticket, [Choice(backend("voice"), ("voice",))])
        tickets.bind(ticket, "rtc_gone")
    assert (len(tickets), limits.live) == (0, 0)


def test_a_key_is_never_its_id() -> None:
    """What operators and logs see of a key does not open anything."""
    assert key_id(KEY).startswith("k_")
    assert KEY not in key_id(KEY)
    assert key_id(KEY) != key_id(KEY + "x")
