"""Events reach a real Redis sealed, wait while it is away, and are named when they are missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from fleet.record.backlog import LARGEST_EVENT_BYTES, Backlog
from fleet.record.stream import BatchSeal, RecordStream, StreamKeys
from fleet.record.writer import CALL_BURST, RecordWriter
from fleet.seal import BrokenSeal
from tests.conftest import RedisServer
from trunkline.v1 import record_pb2 as pb
from wire.keys import KeyRing

RING = KeyRing.parse(f"1:{'ab' * 32}")
KEYS = StreamKeys(0)


def ring() -> KeyRing:
    return RING


class Rig:
    """A writer, and what a recorder would see."""

    def __init__(self, url: str, max_chars: int = 10**7, **options: object) -> None:
        self.redis: Any = redis.Redis.from_url(url, decode_responses=True)
        self.stream = RecordStream(url, 0, ring, max_chars=max_chars, answer_timeout_s=0.5)
        self.writer = RecordWriter(self.stream, "transceiver-0", **options)  # type: ignore[arg-type]
        self.seal = BatchSeal(ring, 0)

    def entries(self) -> list[dict[str, str]]:
        return [fields for _, fields in self.redis.xrange(KEYS.stream)]

    def envelopes(self) -> list[pb.Envelope]:
        opened = [self.seal.open(e["w"], e["n"], e["b"]) for e in self.entries()]
        return [envelope for batch in opened for envelope in batch.envelopes]

    def events(self) -> list[pb.Event]:
        return [pb.Event.FromString(envelope.event) for envelope in self.envelopes()]

    def store(self, *numbers: str) -> None:
        """Do as a recorder does."""
        for entry, fields in self.redis.xrange(KEYS.stream):
            if fields["n"] in numbers:
                self.redis.rpush(KEYS.stored(fields["w"]), fields["n"])
                self.redis.xdel(KEYS.stream, entry)

    async def close(self) -> None:
        await self.stream.close()
        self.redis.close()


@pytest.fixture
def make_rig() -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(*arguments: object, **options: object) -> Rig:
        rigs.append(Rig(*arguments, **options))  # type: ignore[arg-type]
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.redis.close()


async def test_events_reach_the_stream(redis_url: str, make_rig: Callable[..., Rig]) -> None:
    """In order, with what they were told, the content redacted."""
    rig = make_rig(redis_url)
    log = rig.writer.open("rtc_1")
    log.tell(placed=pb.Placed(tenant="acme"))
    log.tell(pb.ORIGIN_BACKEND, "I am at a@b.example", item=pb.Item(item_id="i1"))
    await rig.writer.flush()
    assert [(e.call_id, e.number, e.WhichOneof("body")) for e in rig.events()] == [
        ("rtc_1", 1, "placed"),
        ("rtc_1", 2, "item"),
    ]
    assert rig.envelopes()[1].content == "I am at [e-mail]"
    assert {event.source for event in rig.events()} == {rig.writer.source}
    await rig.close()


async def test_who_reads_redis_learns_nothing(redis_url: str, make_rig: Callable[..., Rig]) -> None:
    """Neither words nor calls nor tenants stand there, and an entry opens in its place alone."""
    rig = make_rig(redis_url)
    rig.writer.open("rtc_secret").tell(content="hello there", item=pb.Item(item_id="itemname"))
    await rig.writer.flush()
    (entry,) = rig.entries()
    for secret in ("rtc_secret", "hello", "itemname", rig.writer.source):
        assert secret not in str(entry)
    for w, n, b in (
        ("0" * 16, entry["n"], entry["b"]),
        (entry["w"], "2", entry["b"]),
        (entry["w"], entry["n"], entry["b"][:-4]),
        (None, entry["n"], entry["b"]),
    ):
        with pytest.raises(BrokenSeal):
            rig.seal.open(w, n, b)
    await rig.close()


async def test_redis_is_away_for_a_while(make_redis: Callable[..., RedisServer]) -> None:
    """What happened meanwhile arrives afterwards, and nothing is missing."""
    server = make_redis()
    rig = Rig(server.url)
    log = rig.writer.open("rtc_1")
    log.tell(fault=pb.Fault(kind="A"))
    await rig.writer.flush()
    rig.store("1")
    server.stop()
    for kind in "BC":
        log.tell(fault=pb.Fault(kind=kind))
        await rig.writer.flush()
    assert rig.writer.waiting_events == 2
    server.start()
    await rig.writer.flush()
    assert rig.writer.waiting_events == 0
    told = [event.fault.kind for event in rig.events()]
    assert told[-2:] == ["B", "C"]
    await rig.close()


async def test_redis_forgets_everything(make_redis: Callable[..., RedisServer]) -> None:
    """A batch that was in it and was not stored is sent once more; one that was stored is not."""
    server = make_redis()
    clock = [1000.0]
    rig = Rig(server.url, now=lambda: clock[0], overdue_s=5.0)
    log = rig.writer.open("rtc_1")
    for kind in "AB":
        log.tell(fault=pb.Fault(kind=kind))
        await rig.writer.flush()
    rig.store("1")
    await rig.writer.flush()  # hears of it
    server.stop()
    server.start()
    clock[0] += 6
    await rig.writer.flush()  # over a connection that is gone
    await rig.writer.flush()
    assert [event.fault.kind for event in rig.events()] == ["B"]
    assert rig.writer.counters["record_batches_sent_again"] == 1
    rig.store("2")
    clock[0] += 6
    await rig.writer.flush()
    clock[0] += 6
    await rig.writer.flush()
    assert rig.events() == []
    await rig.close()


async def test_a_batch_that_waits_for_a_recorder_is_not_sent_again(
    redis_url: str, make_rig: Callable[..., Rig]
) -> None:
    """However long that takes."""
    clock = [1000.0]
    rig = make_rig(redis_url, now=lambda: clock[0])
    rig.writer.open("rtc_1").tell(fault=pb.Fault(kind="A"))
    for _ in range(5):
        await rig.writer.flush()
        clock[0] += 6
    assert len(rig.entries()) == 1
    await rig.close()


async def test_a_full_stream_takes_nothing(redis_url: str, make_rig: Callable[..., Rig]) -> None:
    """And drops nothing; when there is room again the rest follows."""
    rig = make_rig(redis_url, max_chars=3000)
    log = rig.writer.open("rtc_1")
    for number in range(20):
        log.tell(fault=pb.Fault(kind=f"{number}" * 100))
        await rig.writer.flush()
    held = len(rig.entries())
    assert 0 < held < 20
    assert rig.writer.counters["record_stream_full"] > 0
    assert int(str(rig.redis.get(KEYS.size))) <= 3000
    rig.store(*map(str, range(1, held + 1)))  # a recorder takes it all, and Redis counts anew
    await rig.writer.flush()
    assert rig.events()[0].number == held + 1
    await rig.close()


async def test_a_full_backlog_names_what_is_missing(make_redis: Callable[..., RedisServer]) -> None:
    """The first event that fits again comes after a hole with the numbers of those before."""
    server = make_redis()
    server.stop()
    rig = Rig(server.url, backlog=Backlog(4 * LARGEST_EVENT_BYTES))
    log = rig.writer.open("rtc_1")
    for _ in range(100):
        log.tell(content="x" * 30_000, item=pb.Item(item_id="i"))
    left_out = rig.writer.counters["record_events_left_out"]
    assert left_out == 100 - rig.writer.waiting_events > 0
    server.start()
    await rig.writer.flush()
    log.tell(ended=pb.Ended())
    await rig.writer.flush()
    *_, hole, ended = rig.events()
    assert (hole.hole.first, hole.hole.last) == (100 - left_out + 1, 100)
    assert hole.hole.reason == pb.HOLE_REASON_BACKLOG
    assert (hole.number, ended.number) == (101, 102)
    await rig.close()


async def test_one_call_cannot_flood(redis_url: str, make_rig: Callable[..., Rig]) -> None:
    """Beyond its rate events are left out and named; other calls have all of theirs."""
    clock = [1000.0]
    rig = make_rig(redis_url, now=lambda: clock[0])
    loud, quiet = rig.writer.open("rtc_loud"), rig.writer.open("rtc_quiet")
    for _ in range(CALL_BURST + 50):
        loud.tell(fault=pb.Fault(kind="A"))
    quiet.tell(fault=pb.Fault(kind="B"))
    clock[0] += 1
    loud.tell(fault=pb.Fault(kind="C"))
    await rig.writer.flush()
    events = rig.events()
    (hole,) = [event.hole for event in events if event.WhichOneof("body") == "hole"]
    assert (hole.first, hole.last) == (CALL_BURST + 1, CALL_BURST + 50)
    assert hole.reason == pb.HOLE_REASON_CALL_LIMIT
    assert [e.fault.kind for e in events if e.call_id == "rtc_quiet"] == ["B"]
    await rig.close()


async def test_a_rule_that_fails_stores_nothing(
    redis_url: str, make_rig: Callable[..., Rig]
) -> None:
    """The event is there, its content is not."""

    def broken(_text: str) -> str:
        raise ZeroDivisionError

    rig = make_rig(redis_url, redact=broken)
    rig.writer.open("rtc_1").tell(content="said", item=pb.Item(item_id="i"))
    await rig.writer.flush()
    assert [envelope.content for envelope in rig.envelopes()] == [""]
    assert rig.writer.counters["record_redaction_failed"] == 1
    await rig.close()


async def test_it_runs_until_it_is_closed(redis_url: str, make_rig: Callable[..., Rig]) -> None:
    """What waits at the end is sent."""
    rig = make_rig(redis_url, flush_s=0.01)
    log = rig.writer.open("rtc_1")
    task = asyncio.create_task(rig.writer.run())
    log.tell(fault=pb.Fault(kind="A"))
    while not rig.entries():
        await asyncio.sleep(0.01)
    log.tell(fault=pb.Fault(kind="B"))
    await rig.writer.close()
    await task
    assert [event.fault.kind for event in rig.events()] == ["A", "B"]
    await rig.close()
