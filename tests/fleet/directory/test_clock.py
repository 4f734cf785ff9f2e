"""A clock that is off is said at the start, whoever's it is."""

from __future__ import annotations

import time

import pytest
from structlog.testing import capture_logs

from fleet.directory.clock import warn_of_skew
from fleet.directory.redis_store import RedisStore
from fleet.errors import StoreUnavailable
from tests.rings import token_ring


@pytest.mark.parametrize("ahead_s", [-90.0, 0.0, 90.0])
async def test_skew_against_redis(redis_url: str, ahead_s: float) -> None:
    """A minute and a half, either way, is one warning with the cure; none is none."""
    store = RedisStore(redis_url, 7, token_ring)
    with capture_logs() as logged:
        found_s = await warn_of_skew(store, lambda: time.time() + ahead_s)
    await store.close()
    assert round(found_s / 10) * 10 == ahead_s
    assert [entry["event"] for entry in logged] == (["clock_skew"] if ahead_s else [])
    cure = (
        "run an NTP client here and on Redis' machine; relays refuse datagrams of transceivers "
        "whose clock is 30 s off"
    )
    assert all(entry["cure"] == cure for entry in logged)
    assert all(round(entry["ahead_of_redis_s"] / 10) * 10 == ahead_s for entry in logged)


async def test_a_store_without_an_answer_has_no_clock() -> None:
    """The caller learns that the store is gone, as from every other question."""
    store = RedisStore("redis://127.0.0.1:1/0", 7, token_ring)
    with pytest.raises(StoreUnavailable):
        await warn_of_skew(store)
    await store.close()
