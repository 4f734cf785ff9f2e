"""Calls of a lost engine go on in another: real engines, sound and messages, a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from fleet.calls.owner import Owner
from fleet.calls.redis_checkpoints import RedisCheckpoints
from fleet.directory.redis_store import RedisStore
from fleet.errors import StoreUnavailable
from tests.rings import token_ring
from tests.transceiver.engine.test_engine import make_engine  # noqa: F401 - a fixture
from tests.transceiver.recovery.states import make_state
from tests.transceiver.takeover.test_planned_handover import Move, _close_relay  # noqa: F401
from transceiver.call.session import Session
from transceiver.counters import Counted, takeover_refused
from transceiver.engine.engine import Engine
from transceiver.link.errors import BackendAbsent, BackendRefused, CallUnknown, LinkError
from transceiver.recovery.checkpoint import Checkpoints
from transceiver.recovery.refusal import Refusal
from transceiver.recovery.reserve import LEAST_RTP, advanced, reserve_for
from transceiver.recovery.taker import Taker
from transceiver.takeover.session_state import SessionState
from trunkline.process.address import Address
from wire.rtcp import Goodbye
from wire.token import Route

CLUSTER = 3


class Crash:
    """A call on the first engine, its checkpoint in Redis, and a taker on the second."""

    def __init__(self, move: Move, url: str) -> None:
        self.move = move
        self.directory = RedisStore(url, CLUSTER, token_ring)
        self.store = RedisCheckpoints(url, CLUSTER)
        self.hurried = RedisCheckpoints(url, CLUSTER, take_ms=0)
        self.checkpoints = Checkpoints(token_ring, CLUSTER)
        self.raw: Any = redis.asyncio.Redis.from_url(url, decode_responses=True)
        self.link: Any = move.second_link.as_link()
        self.late_s = 0.0
        self.here: list[str] = []
        self.away: list[str] = []
        for engine in (move.first, move.second):
            engine.listen_moved(self.here.append, self.away.append)
        self.taker = self.make_taker(move.second)

    def make_taker(self, engine: Engine) -> Taker:
        return Taker(
            engine,
            self.store,
            self.checkpoints,
            self.backend_of,
            unix_s=lambda: time.time() + self.late_s,
        )

    def backend_of(self, _state: SessionState) -> Any:
        if self.link is None:
            raise BackendAbsent("away")
        return self.link

    async def begin(self) -> None:
        """Both engines have a lease."""
        self.leases = []
        for engine in (self.move.first, self.move.second):
            lease = await self.directory.claim("n", Address("127.0.0.1", 5000))
            await self.directory.renew(lease)
            engine.route = Route(CLUSTER, lease.index, lease.epoch)
            self.leases.append(lease)

    @property
    def lost(self) -> Owner:
        return self.move.first.owner

    async def keep(self, state: SessionState | None = None) -> None:
        kept = state or self.move.first.checkpoint(self.move.session.call_id)
        assert kept is not None
        await self.store.put(self.lost, [self.checkpoints.write_whole(self.lost, kept)])

    async def die(self) -> None:
        """The first engine is fenced; it will never be heard again."""
        await self.directory.fence(self.leases[0].node())

    async def take(self) -> bool:
        return await self.taker._take_some(self.lost)

    async def live(self) -> None:
        """Until the call has gone live: nobody answers its claims here."""
        async with asyncio.timeout(5):
            while not self.move.second.calls():
                await asyncio.sleep(0.01)
        self.move.re_point()

    def refused(self, reason: Refusal) -> int:
        return self.move.second.counters[takeover_refused(reason.value)]

    async def close(self) -> None:
        await self.directory.close()
        await self.store.close()
        await self.hurried.close()
        await self.raw.aclose()


@pytest.fixture
async def move(make_engine: Callable[..., Engine]) -> Move:  # noqa: F811
    made = Move(make_engine(), make_engine())
    await made.start()
    return made


@pytest.fixture
async def crash(move: Move, redis_url: str) -> AsyncIterator[Crash]:
    made = Crash(move, redis_url)
    await made.begin()
    yield made
    await made.close()


async def test_a_call_goes_on_from_its_checkpoint(crash: Crash) -> None:
    """Sound and messages both ways; the old owner sends until its end, and nothing is numbered
    twice."""
    await crash.move.talk()
    await crash.keep()
    await crash.move.talk()
    before = crash.move.caller.heard[-1].sequence
    await crash.die()
    assert await crash.take()
    assert not crash.move.second.calls()  # silent until relay workers know
    await crash.live()
    await crash.move.talk()
    sequences = [packet.sequence for packet in crash.move.caller.heard]
    assert len(set(sequences)) == len(sequences)
    assert sequences[-5] - before == LEAST_RTP - 5 + 1
    assert crash.move.second.counters[Counted.CALLS_TAKEN_OVER] == 1
    assert crash.here == [crash.move.session.call_id]  # its places in the limits come along
    assert not await crash.take()
    assert crash.move.first.leave_all() == 1
    assert crash.move.first.counters["call_ended_fenced"] == 1
    assert crash.away == crash.here
    assert not crash.move.caller.closed
    assert not [said for said in crash.move.caller.rtcp if isinstance(said, Goodbye)]


async def test_the_next_owner_may_be_lost_as_well(crash: Crash) -> None:
    """What it kept before its first packet is enough, and goes further than it ever sent."""
    await crash.move.talk(1)
    await crash.keep()
    state = crash.move.first.checkpoint(crash.move.session.call_id)
    assert state is not None
    await crash.die()
    assert await crash.take()
    second = crash.move.second.owner
    await crash.directory.fence(crash.leases[1].node())
    found = await crash.store.take(second, Owner(9, 9), 5)
    assert len(found) == 1
    read = crash.checkpoints.read(second, found[0], state.unix_s + 2)
    assert read.audio.send.sequence >= state.audio.send.sequence + LEAST_RTP
    assert read.dtls.next_write_sequence > state.dtls.next_write_sequence + 100_000
    assert read.audio.srtp.rtcp_sent > state.audio.srtp.rtcp_sent
    assert read.link.session_json == state.link.session_json


async def test_what_cannot_go_on_here_is_refused_with_its_reason(crash: Crash) -> None:
    """Too old, spoilt, without room, without its backend: counted, and left to others or nobody."""
    state = crash.move.first.checkpoint(crash.move.session.call_id)
    assert state is not None
    await crash.keep(replace(state, dtls=replace(state.dtls, cipher="NULL")))
    await crash.die()
    second, link = crash.move.second, crash.link
    assert not await crash.take()
    assert crash.refused(Refusal.NOT_RESUMABLE) == 1
    await crash.keep(state)
    crash.link = None
    assert not await crash.take()
    assert crash.refused(Refusal.NO_BACKEND) == 1
    crash.link, second.draining = link, True
    assert not await crash.take()
    second.draining, second.max_calls = False, 0
    assert not await crash.take()
    second.max_calls = 9
    key = f"trunkline:{{{CLUSTER}}}:calls:{crash.lost}"
    assert await crash.raw.hlen(key) == 2
    crash.late_s = 31.0
    assert not await crash.take()
    assert crash.refused(Refusal.TOO_OLD) == 1
    assert not await crash.raw.exists(key)
    crash.late_s = 0.0
    await crash.raw.hset(key, mapping={state.call_id: "1.AAAA", f"{state.call_id}/session": "x"})
    assert not await crash.take()
    assert crash.refused(Refusal.UNREADABLE) == 1
    assert not second.calls()
    assert not second.between.prepared


async def test_an_older_checkpoint_brought_back_repeats_no_number(crash: Crash) -> None:
    """Whoever writes to Redis may choose among those of half a minute."""
    await crash.move.talk(1)
    state = crash.move.first.checkpoint(crash.move.session.call_id)
    assert state is not None
    old = replace(state, unix_s=state.unix_s - 20.0)
    await crash.keep(old)
    await crash.die()
    assert await crash.take()
    await crash.live()
    before = crash.move.caller.heard[-1].sequence
    await crash.move.talk(1)
    jumped = crash.move.caller.heard[-1].sequence - before & 0xFFFF
    assert 20 * 1024 < jumped < 0x8000


async def test_each_call_has_one_taker(
    crash: Crash,
    make_engine: Callable[..., Engine],  # noqa: F811
) -> None:
    """Two take at once; one has it, and what the other prepared is gone."""
    await crash.keep()
    await crash.die()
    third = make_engine()
    third.route = Route(CLUSTER, 999, 1)
    other = crash.make_taker(third)
    await asyncio.gather(crash.take(), other._take_some(crash.lost))
    assert crash.move.second.between.prepared + third.between.prepared == 1


async def test_an_answer_that_was_lost_is_asked_for_again(
    crash: Crash, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis kept the call and went away before it said so: the call is not lost over that."""
    await crash.keep()
    await crash.die()
    keep, asked = crash.store.keep, 0

    async def lost_once(*arguments: Any) -> list[str]:
        nonlocal asked
        asked += 1
        kept = await keep(*arguments)
        if asked == 1:
            raise StoreUnavailable("the answer was lost")
        return kept

    monkeypatch.setattr(crash.store, "keep", lost_once)
    monkeypatch.setattr("transceiver.recovery.taker.AGAIN_S", 0.0)
    assert await crash.take()
    assert asked == 2
    await crash.live()
    await crash.move.talk(1)


@pytest.mark.parametrize("error", [BackendRefused("no"), CallUnknown("who?"), BackendAbsent("-")])
async def test_a_backend_that_does_not_go_on_is_counted(
    crash: Crash, monkeypatch: pytest.MonkeyPatch, error: LinkError
) -> None:
    """A plain refusal is told to the session; of the others it hears by itself, once."""
    lost: list[Session] = []

    async def accepted(self: Session, timeout_s: float) -> None:
        raise error

    def on_backend_lost(self: Session) -> None:
        lost.append(self)

    monkeypatch.setattr(Session, "accepted", accepted)
    monkeypatch.setattr(Session, "on_backend_lost", on_backend_lost)
    await crash.keep()
    await crash.die()
    assert await crash.take()
    await crash.live()
    await asyncio.gather(*crash.taker._joining)
    assert crash.refused(Refusal.BACKEND_REFUSED) == 1
    assert len(lost) == (type(error) is BackendRefused)


async def test_a_taker_that_is_late_lets_go(crash: Crash, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was stopped between taking and keeping, and somebody else has the call."""
    await crash.keep()
    await crash.die()
    crash.taker._store = crash.hurried
    keep = crash.store.keep

    async def late(*arguments: Any) -> list[str]:
        other = Owner(9, 9)
        taken = await crash.store.take(crash.lost, other, 9)
        await keep(crash.lost, other, taken)
        return await keep(*arguments)

    monkeypatch.setattr(crash.taker._store, "keep", late)
    assert not await crash.take()
    assert crash.refused(Refusal.LATE) == 1
    assert not crash.move.second.between.prepared


def test_a_state_is_advanced_by_what_was_reserved() -> None:
    """All counters that number what is sent, and the time."""
    state, reserve = make_state(), reserve_for(1.0)
    further = advanced(state, reserve, 7.0)
    assert further.unix_s == 7.0
    send = state.audio.send
    assert further.audio.send.sequence - send.sequence == reserve.rtp_packets
    assert further.audio.send.first_sequence - send.first_sequence == reserve.rtp_packets
    assert state.sctp is not None
    assert further.sctp is not None
    assert further.sctp.local_tsn - state.sctp.local_tsn == reserve.sctp_chunks
    plain = replace(state, sctp=replace(state.sctp, partial_reliability=False))
    assert advanced(plain, reserve, 7.0).sctp == plain.sctp
    assert advanced(replace(state, sctp=None), reserve, 7.0).sctp is None
