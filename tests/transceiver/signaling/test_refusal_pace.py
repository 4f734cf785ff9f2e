from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from transceiver.signaling.pace import Pace
from transceiver.signaling.refusal_pace import paced_refusals


def test_a_burst_leaves_at_once() -> None:
    """A few refusals are no storm; the one behind them waits for its turn."""
    pace = Pace(rate_per_s=10, burst=3, longest_s=5)
    waits = [pace.wait_s(100.0) for _ in range(5)]
    assert [round(wait, 6) for wait in waits] == [0, 0, 0, 0.1, 0.2]


def test_time_gives_the_burst_back() -> None:
    """After a quiet while as many may leave at once again, and no more."""
    pace = Pace(rate_per_s=10, burst=2, longest_s=5)
    for _ in range(10):
        pace.wait_s(0.0)
    assert [round(pace.wait_s(60.0), 6) for _ in range(3)] == [0, 0, 0.1]


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=300))
def test_nobody_waits_longer_than_the_bound(gaps: list[float]) -> None:
    """Whatever arrives, the wait is between nothing and the longest."""
    pace, now = Pace(rate_per_s=5, burst=2, longest_s=1.5), 0.0
    for gap in gaps:
        now += gap
        assert 0 <= pace.wait_s(now) <= 1.5


async def test_only_refused_calls_wait() -> None:
    """A call that is taken, a refused GET and another kind of error are answered at once."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=int(request.query["status"]))

    pace = paced_refusals(Pace(rate_per_s=1, burst=0, longest_s=5), sleep)
    app = web.Application(middlewares=[pace])
    app.router.add_route("*", "/", answer)
    async with TestClient(TestServer(app)) as client:
        for method, status in (("POST", 201), ("GET", 503), ("POST", 422), ("POST", 503)):
            response = await client.request(method, "/", params={"status": str(status)})
            assert response.status == status
        assert len(waited) == 1
        await client.post("/", params={"status": "429"})
    assert len(waited) == 2
