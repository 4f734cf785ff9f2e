"""The operator's API over a real gRPC connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from fleet.admin.server import serve
from fleet.errors import StoreUnavailable
from fleet.limits.call_limits import CallLimits, Ticket
from fleet.limits.memory_ledger import MemoryLedger
from fleet.limits.rules import LimitRules, Limits
from tests.transceiver.front_door import FakeEngine
from tests.transceiver.links import as_link
from tests.transceiver.offers import real_offer
from transceiver.admin import SERVICE_NAME, TransceiverAdmin
from transceiver.moves.moves import NoTarget
from transceiver.moves.outgoing import Outcome
from transceiver.signaling.offer_policy import read_offer
from trunkline.process.address import Address
from trunkline.v1 import admin_pb2, admin_pb2_grpc

OFFER = read_offer(real_offer()).offer


class Operator:
    """A client of the API, the engine behind it, and the drains it asked for."""

    def __init__(self) -> None:
        self.mover = Mover()
        self.engine = FakeEngine()
        self.drains: list[float | None] = []
        self.limits = CallLimits(MemoryLedger(), LimitRules.parse("key/*: calls=7 rate=2"))
        self.stub: Any  # the generated stubs have no types for asyncio

    async def drain(self, deadline_s: float | None) -> None:
        """Note a drain."""
        self.drains.append(deadline_s)

    async def undrain(self) -> None:
        """Note that it was taken back."""
        self.drains.clear()

    def call_up(self, count: int) -> None:
        """Make live calls."""
        for _ in range(count):
            self.engine.create_call(OFFER, "whip", "", as_link())


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    """A served API on a free port."""
    it = Operator()
    servicer = TransceiverAdmin(it.engine, it, it.limits, it.mover)  # type: ignore[arg-type]
    add = partial(admin_pb2_grpc.add_TransceiverAdminServicer_to_server, servicer)
    server = await serve(Address("127.0.0.1", 0), [add], [SERVICE_NAME])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        it.stub = admin_pb2_grpc.TransceiverAdminStub(channel)
        yield it
    await server.close(grace_s=0)


async def status_of(call: Awaitable[object]) -> grpc.StatusCode:
    """The status a call fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code()


async def test_list_calls_pages_through_all(operator: Operator) -> None:
    """Pages of two list five calls, oldest first, each once, and the last has no token."""
    operator.call_up(5)
    seen: list[str] = []
    sizes: list[int] = []
    token = ""
    while not sizes or token:
        request = admin_pb2.ListCallsRequest(page_size=2, page_token=token)
        page = await operator.stub.ListCalls(request)
        assert page.total == 5
        seen += [call.call_id for call in page.calls]
        sizes.append(len(page.calls))
        token = page.next_page_token
    assert seen == [f"rtc_{n}" for n in range(1, 6)]
    assert sizes == [2, 2, 1]


async def test_calls_that_end_between_pages_hide_no_other(operator: Operator) -> None:
    """A page begins after the last call of the page before, though that call has ended."""
    operator.call_up(4)
    first = await operator.stub.ListCalls(admin_pb2.ListCallsRequest(page_size=2))
    for call in first.calls:
        operator.engine.end(call.call_id, "hangup")
    request = admin_pb2.ListCallsRequest(page_size=2, page_token=first.next_page_token)
    second = await operator.stub.ListCalls(request)
    assert [call.call_id for call in second.calls] == ["rtc_3", "rtc_4"]
    assert not second.next_page_token


async def test_a_page_has_a_hundred_calls_unless_told(operator: Operator) -> None:
    """page_size 0 means 100, and 1000 is allowed."""
    operator.call_up(101)
    assert len((await operator.stub.ListCalls(admin_pb2.ListCallsRequest())).calls) == 100
    all_of_them = await operator.stub.ListCalls(admin_pb2.ListCallsRequest(page_size=1000))
    assert len(all_of_them.calls) == 101


@pytest.mark.parametrize(
    "request_",
    [
        admin_pb2.ListCallsRequest(page_size=1001),
        admin_pb2.ListCallsRequest(page_token="x"),
        admin_pb2.ListCallsRequest(page_token="1."),
        admin_pb2.ListCallsRequest(page_token="-1.rtc_1"),
        admin_pb2.ListCallsRequest(page_token="1." + "x" * 200),
    ],
)
async def test_list_calls_refuses(operator: Operator, request_: admin_pb2.ListCallsRequest) -> None:
    """A page size out of range or a made-up token is INVALID_ARGUMENT."""
    status = await status_of(operator.stub.ListCalls(request_))
    assert status is grpc.StatusCode.INVALID_ARGUMENT


async def test_get_call(operator: Operator) -> None:
    """One call has every field of its snapshot; another id is NOT_FOUND."""
    operator.call_up(1)
    call = await operator.stub.GetCall(admin_pb2.GetCallRequest(call_id="rtc_1"))
    assert (call.state, call.backend, call.surface) == ("new", "echo", "whip")
    assert (call.packets_received, call.packets_sent, call.packets_lost) == (1, 2, 3)
    assert (call.jitter_ms, call.round_trip_ms, call.queued_frames) == (4.5, 6.5, 7)
    assert (call.messages_received, call.messages_sent) == (8, 9)
    assert call.client_network == "203.0.113.0/24"
    missing = operator.stub.GetCall(admin_pb2.GetCallRequest(call_id="rtc_2"))
    assert await status_of(missing) is grpc.StatusCode.NOT_FOUND


async def test_end_call_keeps_why_in_the_log(operator: Operator) -> None:
    """A call is ended once with the operator's reason; a second time it is NOT_FOUND."""
    operator.call_up(1)
    request = admin_pb2.EndCallRequest(call_id="rtc_1", why="asked by phone")
    with capture_logs() as logged:
        await operator.stub.EndCall(request)
    assert operator.engine.ended == [("rtc_1", "operator")]
    (entry,) = [entry for entry in logged if entry["event"] == "call_ended_by_operator"]
    assert (entry["call_id"], entry["why"]) == ("rtc_1", "asked by phone")
    assert await status_of(operator.stub.EndCall(request)) is grpc.StatusCode.NOT_FOUND


async def test_end_call_refuses_a_long_why(operator: Operator) -> None:
    """The log takes 200 characters of why; more ends nothing."""
    operator.call_up(1)
    request = admin_pb2.EndCallRequest(call_id="rtc_1", why="x" * 201)
    status = await status_of(operator.stub.EndCall(request))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert len(operator.engine.calls()) == 1


async def test_drain_answers_at_once(operator: Operator) -> None:
    """Drain says how many calls are live; 0 seconds means no deadline, a year is refused."""
    operator.call_up(3)
    assert (await operator.stub.Drain(admin_pb2.DrainRequest(deadline_s=60))).calls == 3
    await operator.stub.Drain(admin_pb2.DrainRequest())
    assert operator.drains == [60.0, None]
    year = operator.stub.Drain(admin_pb2.DrainRequest(deadline_s=365 * 86400))
    assert await status_of(year) is grpc.StatusCode.INVALID_ARGUMENT


async def test_undrain_is_a_drain_undone(operator: Operator) -> None:
    """The same request with `undo`; both are in the log with who and why."""
    with capture_logs() as logged:
        await operator.stub.Drain(admin_pb2.DrainRequest(why="kernel upgrade"))
        await operator.stub.Drain(admin_pb2.DrainRequest(undo=True, why="not today"))
    assert operator.drains == []
    lines = [(entry["event"], entry["why"]) for entry in logged if "calls" in entry]
    assert lines == [("drain_asked", "kernel upgrade"), ("drain_undone", "not today")]


async def test_limits_are_shown_with_what_is_used(operator: Operator) -> None:
    """Every subject with a rule or with calls, its limits, and whether an operator set them."""
    await operator.limits.admit(Ticket("k_1"), [()])
    await operator.limits.change("model/voice", Limits(calls=3))
    shown = await operator.stub.ListLimits(admin_pb2.ListLimitsRequest())
    rows = [(s.subject, s.calls, s.live_calls, s.changed) for s in shown.subjects]
    assert rows == [("key/*", 7, 0, False), ("key/k_1", 7, 1, False), ("model/voice", 3, 0, True)]
    assert not shown.alone


async def test_limits_change_and_change_back(operator: Operator) -> None:
    """They hold at once; an empty text brings the settings' limits back; who and why are logged."""
    change = admin_pb2.ChangeLimitsRequest(subject="key/k_1", limits="calls=1", why="abuse")
    with capture_logs() as logged:
        answer = await operator.stub.ChangeLimits(change)
    assert answer.limits_before == "calls=7 rate=2 tokens=0"
    assert operator.limits.rules.limits_of("key/k_1") == Limits(calls=1)
    (entry,) = [entry for entry in logged if entry["event"] == "limits_set"]
    assert (entry["who"], entry["why"], entry["subject"]) == ("local", "abuse", "key/k_1")
    await operator.stub.ChangeLimits(admin_pb2.ChangeLimitsRequest(subject="key/k_1"))
    assert operator.limits.rules.limits_of("key/k_1") == Limits(7, 2)


@pytest.mark.parametrize(
    ("subject", "limits"), [("k_1", "calls=1"), ("key/k_1", "calls"), ("key/k_1", "calls=-1")]
)
async def test_limits_that_cannot_be_read_are_refused(
    operator: Operator, subject: str, limits: str
) -> None:
    """INVALID_ARGUMENT says what is wrong, and nothing changes."""
    change = operator.stub.ChangeLimits(
        admin_pb2.ChangeLimitsRequest(subject=subject, limits=limits)
    )
    assert await status_of(change) is grpc.StatusCode.INVALID_ARGUMENT
    assert operator.limits.changed == frozenset()


async def test_limits_without_the_store_are_unavailable(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the fleet's: one process alone cannot show or change them."""

    async def away(*_: object) -> None:
        raise StoreUnavailable("Redis at nowhere cannot be reached")

    monkeypatch.setattr(operator.limits._ledger, "usage", away)
    monkeypatch.setattr(operator.limits._ledger, "change", away)
    listed = operator.stub.ListLimits(admin_pb2.ListLimitsRequest())
    assert await status_of(listed) is grpc.StatusCode.UNAVAILABLE
    change = admin_pb2.ChangeLimitsRequest(subject="key/k", limits="calls=1")
    assert await status_of(operator.stub.ChangeLimits(change)) is grpc.StatusCode.UNAVAILABLE


class Mover:
    """Moves that come out as a test says."""

    def __init__(self) -> None:
        self.outcome: Outcome | Exception = Outcome.MOVED
        self.asked: list[tuple[str, str]] = []

    async def move(self, call_id: str, wanted: str = "") -> tuple[Outcome, str]:
        self.asked.append((call_id, wanted))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome, "t2"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.REFUSED_NO_ROOM, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Outcome.REFUSED_STATE, grpc.StatusCode.FAILED_PRECONDITION),
        (Outcome.TIMED_OUT, grpc.StatusCode.ABORTED),
        (Outcome.ABORTED, grpc.StatusCode.ABORTED),
        (Outcome.TAKEN_BACK, grpc.StatusCode.ABORTED),
        (Outcome.IN_DOUBT, grpc.StatusCode.DATA_LOSS),
        (KeyError("rtc_1"), grpc.StatusCode.NOT_FOUND),
        (NoTarget("no node x"), grpc.StatusCode.NOT_FOUND),
        (StoreUnavailable("Redis does not answer"), grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_a_call_is_moved(
    operator: Operator, outcome: Outcome | Exception, status: grpc.StatusCode
) -> None:
    """The node that has it is said, and each way not to move has its status."""
    request = admin_pb2.MoveCallRequest(call_id="rtc_1", node="t2", why="test")
    answer = await operator.stub.MoveCall(request)
    assert answer.node == "t2"
    assert operator.mover.asked == [("rtc_1", "t2")]
    operator.mover.outcome = outcome
    assert await status_of(operator.stub.MoveCall(request)) is status
