"""From a writer over a real Redis to a store: everything once, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
import redis

from fleet.ending import end
from fleet.record.stream import BatchSeal, RecordStream, StreamKeys
from fleet.record.writer import RecordWriter
from records.intake import Intake
from records.recorder import Recorder
from records.store import reading
from records.store.reading import CallFilter
from records.store.store import Store
from tests.conftest import RedisServer
from tests.records.kit import Teller
from trunkline.v1 import record_pb2 as pb
from wire.keys import KeyRing

RING = KeyRing.parse(f"1:{'ab' * 32}")
OTHER = KeyRing.parse(f"2:{'cd' * 32}")
KEYS = StreamKeys(0)


class Path:
    """A writer and a recorder, on one Redis."""

    def __init__(self, url: str, store: Store, **options: Any) -> None:
        self.url, self.store = url, store
        self.redis: Any = redis.Redis.from_url(url, decode_responses=True)
        self.ring = RING
        self.stream = RecordStream(url, 0, lambda: self.ring, answer_timeout_s=0.5)
        self.writer = RecordWriter(self.stream, "transceiver-0", overdue_s=0.0)
        self.recorder = self.new_recorder(**options)

    def new_recorder(self, ring: KeyRing = RING, **options: Any) -> Recorder:
        self.intake = Intake(self.url, 0, wait_ms=20, **options)
        return Recorder(self.intake, self.store, BatchSeal(lambda: ring, 0))

    async def close(self) -> None:
        await self.stream.close()
        await self.intake.close()
        self.redis.close()

    def rows(self) -> list[dict[str, Any]]:
        with self.store.reading() as connection:
            return reading.calls(connection, CallFilter(limit=1000))


async def test_events_reach_the_store(redis_url: str, store: Store) -> None:
    """The stream is empty afterwards, and the writer keeps no copy."""
    path = Path(redis_url, store)
    for number in range(3):
        log = path.writer.open(f"rtc_{number}")
        log.tell(placed=pb.Placed(tenant="acme"))
        log.tell(content="hello", item=pb.Item(item_id="i"))
        log.tell(ended=pb.Ended(reason=pb.END_REASON_HANGUP))
    await path.writer.flush()
    await path.recorder.turn()
    await path.writer.flush()
    assert [row["end_reason"] for row in path.rows()] == ["hangup"] * 3
    assert path.recorder.counters["stored"] == 9
    assert path.redis.xlen(KEYS.stream) == 0
    assert path.redis.get(KEYS.size) == "0"
    assert path.writer.unconfirmed_batches == 0
    await path.close()


async def test_a_recorder_that_dies_after_it_stored(redis_url: str, store: Store) -> None:
    """Another one takes what was not finished, and stores nothing twice."""
    path = Path(redis_url, store)
    path.writer.open("rtc_1").tell(fault=pb.Fault(kind="A"))
    await path.writer.flush()
    entries = await path.intake.take()
    assert len(entries) == 1  # stored by one that dies before it can say so
    store.write([one for entry in entries for one in path.recorder._opened(entry) or ()])
    await path.intake.close()
    other = path.new_recorder(claim_after_ms=0)
    await other.turn()
    assert (other.counters["stored"], other.counters["repeated"]) == (0, 1)
    assert path.rows()[0]["events"] == 1
    assert path.redis.xlen(KEYS.stream) == 0
    await path.close()


async def test_its_own_unfinished_entries_come_first(redis_url: str, store: Store) -> None:
    """After a failure it begins with what it was given."""
    path = Path(redis_url, store)
    path.writer.open("rtc_1").tell(fault=pb.Fault(kind="A"))
    await path.writer.flush()
    given = await path.intake.take()
    path.intake.failed()
    assert await path.intake.take() == given
    await path.close()


async def test_redis_forgets_the_group(redis_url: str, store: Store) -> None:
    """Everything that Redis had is gone: the group is made anew, and copies come again."""
    path = Path(redis_url, store)
    await path.recorder.turn()
    path.writer.open("rtc_1").tell(fault=pb.Fault(kind="A"))
    await path.writer.flush()
    path.redis.flushall()
    await path.writer.flush()  # its copy is overdue, and not there
    for _ in range(3):
        await path.recorder.turn()
    assert path.recorder.counters["stored"] == 1
    await path.close()


async def test_what_is_not_of_this_fleet(redis_url: str, store: Store) -> None:
    """It is counted, taken out, and keeps nothing up."""
    path = Path(redis_url, store)
    await path.recorder.turn()
    for fields in (
        {"x": "y"},
        {"w": "a", "n": "1", "b": "1.AAAA"},
        {"w": "a", "n": "1", "b": "\udcff".encode("utf-8", "surrogateescape")},
    ):
        path.redis.xadd(KEYS.stream, fields)
    path.writer.open("rtc_1").tell(fault=pb.Fault(kind="A"))
    await path.writer.flush()
    await path.recorder.turn()
    assert path.recorder.counters["batches_unreadable"] == 3
    assert path.recorder.counters["stored"] == 1
    assert path.redis.xlen(KEYS.stream) == 0
    await path.close()


async def test_a_key_that_the_recorder_does_not_have_yet(redis_url: str, store: Store) -> None:
    """The writer sends its copy again until a recorder has the key: nothing is lost."""
    path = Path(redis_url, store)
    path.ring = OTHER
    path.writer.open("rtc_1").tell(fault=pb.Fault(kind="A"))
    await path.writer.flush()
    await path.recorder.turn()
    assert path.recorder.counters["stored"] == 0
    await path.intake.close()
    newer = path.new_recorder(ring=OTHER)
    await path.writer.flush()
    await newer.turn()
    assert newer.counters["stored"] == 1
    await path.close()


async def test_a_store_that_is_away(redis_url: str, store: Store) -> None:
    """The recorder waits with what it has, and goes on when it is back."""
    path = Path(redis_url, store)
    path.writer.open("rtc_1").tell(fault=pb.Fault(kind="A"))
    await path.writer.flush()
    failures = iter([True, True])
    write = store.write

    def sometimes(events: Any) -> Any:
        if next(failures, False):
            raise store_gone()
        return write(events)

    store.write = sometimes  # type: ignore[method-assign]
    await path.recorder.turn()
    assert path.recorder.counters["stored"] == 1
    assert path.recorder.well
    await path.close()


def store_gone() -> Exception:
    from fleet.errors import StoreUnavailable

    return StoreUnavailable("Postgres at h/x failed (57P01)")


async def test_an_event_that_the_store_refuses(redis_url: str, store: Store) -> None:
    """It alone is left out and counted; its batch is stored."""
    path = Path(redis_url, store)
    log = path.writer.open("rtc_1")
    log.tell(fault=pb.Fault(kind="A"))
    log.tell(resources=pb.Resources(bytes_to_caller=2**64 - 1))
    log.tell(fault=pb.Fault(kind="B"))
    await path.writer.flush()
    await path.recorder.turn()
    assert path.recorder.counters["not_storable"] == 1
    assert path.rows()[0]["faults"] == 2
    await path.close()


@pytest.mark.parametrize("recorders", [1, 3])
async def test_killed_at_random(
    make_redis: Callable[..., RedisServer], store: Store, recorders: int
) -> None:
    """Recorders are cut off in the middle and Redis loses all it has, again and again."""
    server, moments = make_redis(), random.Random(recorders)
    path = Path(server.url, store)
    await path.intake.close()
    told, logs = 0, [path.writer.open(f"rtc_{number}") for number in range(10)]
    writing = asyncio.create_task(path.writer.run())
    for number in range(12):
        running = []
        for _ in range(recorders):
            recorder = path.new_recorder(claim_after_ms=0)
            running.append((asyncio.create_task(recorder.run()), path.intake))
        for log in logs:
            log.tell(fault=pb.Fault(kind="A"))
            log.tell(content="x" * 1000, item=pb.Item(item_id="i"))
            told += 2
        await asyncio.sleep(moments.uniform(0, 0.4))  # anywhere in a turn
        if number % 3 == 1:
            server.stop()
            server.start()
        for task, intake in running:
            await end([task])
            await intake.close()
    last = path.new_recorder(claim_after_ms=0)
    finishing = asyncio.create_task(last.run())
    async with asyncio.timeout(60):
        while sum(row["events"] for row in await asyncio.to_thread(path.rows)) < told:
            await asyncio.sleep(0.05)
        while path.writer.waiting_events or path.writer.unconfirmed_batches:
            await asyncio.sleep(0.05)
    await end([finishing])
    await path.writer.close()
    await writing
    assert [row["events"] for row in path.rows()] == [24] * 10
    assert path.writer.counters["record_events_left_out"] == 0
    await path.close()


async def test_a_store_that_other_tellers_fill(redis_url: str, store: Store) -> None:
    """Events of several sources of one call are one call."""
    first, second = Teller("rtc_1", "transceiver-0-a"), Teller("rtc_1", "transceiver-1-b")
    store.write([first.tell(placed=pb.Placed(node=1)), second.tell(moved=pb.Moved(to_node=2))])
    path = Path(redis_url, store)
    assert [(row["events"], row["node"], row["moves"]) for row in path.rows()] == [(2, 2, 1)]
    await path.close()
