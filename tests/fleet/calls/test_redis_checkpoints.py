"""Checkpoints in a real Redis: who has which, and what somebody else who writes there can do."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from fleet.calls.owner import Owner
from fleet.calls.redis_checkpoints import LARGEST_TEXT, RedisCheckpoints, Stored
from fleet.directory.redis_store import RedisStore
from fleet.directory.store import Lease
from tests.rings import token_ring
from trunkline.process.address import Address

CLUSTER = 9
TRUNK = Address("127.0.0.1", 5000)
TAKER, OTHER = Owner(70, 1), Owner(71, 1)


class Fleet:
    """A directory and checkpoints in one Redis, and a hand on what is there."""

    def __init__(self, url: str) -> None:
        self.directory = RedisStore(url, CLUSTER, token_ring)
        self.checkpoints = RedisCheckpoints(url, CLUSTER)
        self.hurried = RedisCheckpoints(url, CLUSTER, take_ms=0)
        self.raw = redis.asyncio.Redis.from_url(url, decode_responses=True)

    async def lease(self) -> tuple[Lease, Owner]:
        lease = await self.directory.claim("n", TRUNK)
        await self.directory.renew(lease)
        return lease, Owner(lease.index, lease.epoch)

    async def lost(self, calls: int) -> Owner:
        """An owner that was fenced with some calls."""
        lease, owner = await self.lease()
        names = [f"rtc_{n}" for n in range(calls)]
        await self.checkpoints.put(owner, [Stored(n, f"state {n}", f"of {n}") for n in names])
        await self.directory.fence(lease.node())
        return owner

    async def close(self) -> None:
        await self.directory.close()
        await self.checkpoints.close()
        await self.hurried.close()
        await self.raw.aclose()


@pytest.fixture
async def fleet(redis_url: str) -> AsyncIterator[Fleet]:
    made = Fleet(redis_url)
    yield made
    await made.close()


def key(owner: Owner) -> str:
    return f"trunkline:{{{CLUSTER}}}:calls:{owner}"


async def test_what_does_not_change_is_asked_for_once(fleet: Fleet) -> None:
    """A session that is not there is missed until it is put, and again after Redis lost it."""
    owner, call = Owner(1, 2), Stored("rtc_1", "a", "")
    for _ in range(2):
        assert await fleet.checkpoints.put(owner, [call]) == ["rtc_1"]
    assert await fleet.checkpoints.put(owner, [call._replace(session="s")]) == []
    assert await fleet.checkpoints.put(owner, [call._replace(state="b")]) == []
    assert await fleet.raw.hgetall(key(owner)) == {"rtc_1": "b", "rtc_1/session": "s"}
    assert 0 < await fleet.raw.pttl(key(owner)) <= 35_000
    await fleet.raw.flushall()
    assert await fleet.checkpoints.put(owner, [call]) == ["rtc_1"]


async def test_a_call_that_ended_leaves_nothing(fleet: Fleet) -> None:
    """Both its texts go, and with the last call the key."""
    owner = Owner(1, 2)
    await fleet.checkpoints.put(owner, [Stored("rtc_1", "a", "s"), Stored("rtc_2", "b", "t")])
    await fleet.checkpoints.put(owner, [], ["rtc_1"])
    assert set(await fleet.raw.hgetall(key(owner))) == {"rtc_2", "rtc_2/session"}
    await fleet.checkpoints.put(owner, [], ["rtc_2"])
    assert not await fleet.raw.exists(key(owner))


async def test_who_was_fenced_puts_nothing_any_more(fleet: Fleet) -> None:
    """A process that stood still goes on in the middle of a batch: its calls are others' now."""
    lost, (_, taker) = await fleet.lost(1), await fleet.lease()
    assert len(await fleet.checkpoints.take(lost, taker, 5)) == 1
    assert await fleet.checkpoints.keep(lost, taker, [Stored("rtc_0", "kept", "of 0")]) == ["rtc_0"]
    late = Stored("rtc_0", "of a second that is long over", "of 0")
    assert await fleet.checkpoints.put(lost, [late]) == []
    assert await fleet.checkpoints.take(lost, taker, 5) == []


async def test_nothing_is_taken_from_the_living(fleet: Fleet) -> None:
    """Before its owner was fenced nobody gets a call, and neither from an owner nobody knows."""
    lease, owner = await fleet.lease()
    await fleet.checkpoints.put(owner, [Stored("rtc_1", "a", "s")])
    assert await fleet.checkpoints.take(owner, TAKER, 9) == []
    assert await fleet.checkpoints.take(Owner(lease.index + 1, 0), TAKER, 9) == []
    assert await fleet.directory.fence(lease.node())
    assert await fleet.checkpoints.take(owner, TAKER, 9) == [Stored("rtc_1", "a", "s")]


async def test_each_call_is_taken_by_one(fleet: Fleet) -> None:
    """Takers get different calls, as many as they ask for, and own what they keep."""
    lost = await fleet.lost(5)
    ours = await fleet.checkpoints.take(lost, TAKER, 3)
    theirs = await fleet.checkpoints.take(lost, OTHER, 3)
    assert (len(ours), len(theirs)) == (3, 2)
    assert {call.call_id for call in ours + theirs} == {f"rtc_{n}" for n in range(5)}
    assert await fleet.checkpoints.take(lost, TAKER, 3) == []
    kept = await fleet.checkpoints.keep(lost, TAKER, ours)
    assert kept == [call.call_id for call in ours]
    assert await fleet.checkpoints.keep(lost, TAKER, ours) == kept  # the answer was lost
    assert await fleet.checkpoints.keep(lost, TAKER, theirs) == []
    assert len(await fleet.raw.hgetall(key(TAKER))) == 6
    assert set(await fleet.raw.hkeys(key(lost))) == {
        name for call in theirs for name in (call.call_id, f"{call.call_id}/session")
    }


async def test_who_dies_over_a_call_leaves_it_to_others(fleet: Fleet) -> None:
    """A call that was taken and not kept is taken again, and the late one does not get it."""
    lost = await fleet.lost(1)
    late = await fleet.hurried.take(lost, TAKER, 1)
    assert await fleet.checkpoints.take(lost, OTHER, 1) == late
    assert await fleet.checkpoints.keep(lost, TAKER, late) == []
    assert await fleet.checkpoints.keep(lost, OTHER, late) == ["rtc_0"]
    assert not await fleet.raw.exists(key(TAKER), key(lost))


async def test_what_cannot_be_taken_in_goes_back(fleet: Fleet) -> None:
    """For others at once, or for nobody; what is somebody else's by then stays so."""
    lost = await fleet.lost(3)
    first, second, third = await fleet.checkpoints.take(lost, TAKER, 3)
    await fleet.checkpoints.give_back(lost, TAKER, [first.call_id], [second.call_id])
    await fleet.checkpoints.give_back(lost, OTHER, [], [third.call_id])
    assert await fleet.checkpoints.take(lost, OTHER, 9) == [first]
    assert await fleet.checkpoints.keep(lost, TAKER, [third]) == [third.call_id]


async def test_a_foreign_hand_in_redis_stops_nobody(fleet: Fleet) -> None:
    """Keys of another type, texts without end and marks of nonsense cost what they touch."""
    lost = await fleet.lost(3)
    await fleet.raw.set(f"{key(lost)}:taken", "no hash")
    await fleet.raw.hset(key(lost), "rtc_0", "x" * (LARGEST_TEXT + 1))
    await fleet.raw.hdel(key(lost), "rtc_1/session")
    taken = {call.call_id: call for call in await fleet.checkpoints.take(lost, TAKER, 9)}
    assert taken["rtc_0"] == Stored("rtc_0", "", "of rtc_0")
    assert taken["rtc_1"] == Stored("rtc_1", "state rtc_1", "")
    assert taken["rtc_2"] == Stored("rtc_2", "state rtc_2", "of rtc_2")
    await fleet.raw.hset(f"{key(lost)}:taken", "rtc_2", "nonsense")
    assert [c.call_id for c in await fleet.checkpoints.take(lost, OTHER, 9)] == ["rtc_2"]
    await fleet.raw.set(key(OTHER), "no hash")
    assert await fleet.checkpoints.put(OTHER, [Stored("rtc_9", "a", "s")]) == []
    await fleet.raw.hset(f"trunkline:{{{CLUSTER}}}:directory:epochs", str(lost.node), "nonsense")
    assert await fleet.checkpoints.take(lost, OTHER, 9) == []


@pytest.mark.parametrize("seed", range(8))
async def test_no_order_gives_a_call_two_owners(fleet: Fleet, seed: int) -> None:
    """Owners, takers that are late, and newer owners that die as well, against a model of it."""
    chance = random.Random(seed)
    lost = await fleet.lost(6)
    takers = [Owner(80 + n, 1) for n in range(3)]
    held: dict[Owner, dict[str, Stored]] = {taker: {} for taker in takers}
    last_taken: dict[str, Owner] = {}
    owned: dict[str, Owner] = {}
    for _ in range(60):
        taker = chance.choice(takers)
        match chance.choice(("take", "hurried take", "keep", "give back")):
            case "keep":
                calls = list(held[taker].values())
                kept = await fleet.checkpoints.keep(lost, taker, calls)
                assert set(kept) == {c for c in held[taker] if last_taken.get(c) == taker}
                for call in kept:
                    assert call not in owned
                    owned[call] = taker
                    del last_taken[call]
                held[taker].clear()
            case "give back":
                await fleet.checkpoints.give_back(lost, taker, list(held[taker]))
                for call in held[taker]:
                    if last_taken.get(call) == taker:
                        del last_taken[call]
                held[taker].clear()
            case how:
                store = fleet.hurried if how == "hurried take" else fleet.checkpoints
                for found in await store.take(lost, taker, chance.randint(1, 3)):
                    assert found.call_id not in owned
                    held[taker][found.call_id] = found
                    last_taken[found.call_id] = taker
    for taker in takers:
        there = await fleet.raw.hkeys(key(taker))
        assert {name for name in there if "/" not in name} == {
            call for call, owner in owned.items() if owner == taker
        }
