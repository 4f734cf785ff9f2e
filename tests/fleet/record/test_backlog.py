"""What waits is bounded, and copies give way before anything is lost."""

from __future__ import annotations

from fleet.record.backlog import (
    LARGEST_EVENT_BYTES,
    MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS,
    Backlog,
    Outgoing,
)
from trunkline.v1 import record_pb2 as pb


def envelope(size: int = 100) -> pb.Envelope:
    return pb.Envelope(event=b"x" * size)


def filled(backlog: Backlog, count: int, size: int = 100) -> Backlog:
    for _ in range(count):
        backlog.add(envelope(size))
    return backlog


def send(backlog: Backlog, now_s: float = 0.0) -> Outgoing:
    batch = backlog.next_batch()
    assert batch
    backlog.sent(batch, f"{batch.number}-0", now_s)
    return batch


def test_nothing_waits_at_first() -> None:
    """There is no batch of nothing."""
    assert Backlog().next_batch() is None


def test_a_batch_is_the_same_until_it_is_sent() -> None:
    """What came meanwhile is in the next one."""
    backlog = filled(Backlog(), 3)
    first = backlog.next_batch()
    assert first
    assert first.events == 3
    backlog.add(envelope())
    assert backlog.next_batch() is first
    backlog.sent(first, "1-0", 0.0)
    second = backlog.next_batch()
    assert second
    assert (second.number, second.events) == (2, 1)


def test_batches_are_bounded() -> None:
    """By events, and by bytes."""
    many = filled(Backlog(), 2 * MAX_BATCH_EVENTS, size=1)
    assert many.full_batch
    batch = many.next_batch()
    assert batch
    assert batch.events == MAX_BATCH_EVENTS
    large = filled(Backlog(), 10, size=MAX_BATCH_BYTES // 2)
    batch = large.next_batch()
    assert batch
    assert batch.events == 2


def test_every_event_leaves_in_order() -> None:
    """All of them, once."""
    backlog = Backlog()
    for number in range(2000):
        backlog.add(pb.Envelope(event=str(number).encode()))
    told: list[int] = []
    while batch := backlog.next_batch():
        told += [int(e.event) for e in pb.Batch.FromString(batch.content).envelopes]
        backlog.sent(batch, "1-0", 0.0)
    assert told == list(range(2000))
    assert (backlog.waiting_events, backlog.waiting_bytes) == (0, 0)


def test_it_has_room_until_it_is_full() -> None:
    """Bytes that wait never go beyond the bound, whatever the events are like."""
    bound = 10 * LARGEST_EVENT_BYTES
    backlog = Backlog(bound)
    added = 0
    while backlog.has_room:
        backlog.add(envelope(LARGEST_EVENT_BYTES - 10))
        added += 1
    assert added == 9
    assert backlog.waiting_bytes <= bound
    send(backlog)
    assert backlog.has_room


def test_copies_give_way() -> None:
    """The oldest copy first, and what waits is all there."""
    bound = 8 * LARGEST_EVENT_BYTES
    backlog = Backlog(bound)
    batches = [send(filled(backlog, 1, LARGEST_EVENT_BYTES - 10)) for _ in range(7)]
    assert backlog.copies == 7
    filled(backlog, 3, LARGEST_EVENT_BYTES - 10)
    assert not backlog.has(batches[0])
    assert backlog.has(batches[-1])
    assert backlog.waiting_bytes + backlog.copied_bytes <= bound
    assert backlog.waiting_events == 3


def test_copies_are_forgotten_when_stored() -> None:
    """And only then; numbers that are not ours change nothing."""
    backlog = filled(Backlog(), 1)
    batch = send(backlog)
    backlog.stored([7])
    assert backlog.has(batch)
    backlog.stored([batch.number, batch.number])
    assert not backlog.has(batch)
    assert backlog.copied_bytes == 0


def test_overdue_copies() -> None:
    """The oldest first, as many as asked for; what was seen is not overdue any more."""
    backlog = Backlog()
    batches = [send(filled(backlog, 1), now_s) for now_s in (0.0, 1.0, 2.0)]
    assert backlog.overdue(2.0, most=9) == batches[:2]
    assert backlog.overdue(2.0, most=1) == batches[:1]
    backlog.seen(batches[:1], 5.0)
    assert backlog.overdue(4.0, most=9) == batches[1:]
    backlog.sent(batches[1], "9-0", 6.0)  # once more
    assert backlog.overdue(4.0, most=9) == batches[2:]
    assert backlog.copied_bytes == sum(len(batch.content) for batch in batches)
