"""Which calls are due to be kept, and when."""

from __future__ import annotations

import random

from transceiver.recovery.due import GAP_S, INTERVAL_S, DueCalls


def test_a_new_call_is_due_at_once_and_then_each_interval() -> None:
    """No checkpoint is older than a second."""
    due = DueCalls()
    due.changed("a", 10.0)
    assert due.take(10.0, 9) == ["a"]
    assert due.take(10.0 + INTERVAL_S - 0.02, 9) == []
    assert due.take(10.0 + INTERVAL_S + 0.01, 9) == ["a"]


def test_what_cannot_be_repeated_is_kept_at_once_but_not_without_end() -> None:
    """A call that changes all the time is kept once in GAP_S."""
    due = DueCalls()
    taken = 0
    for step in range(1000):
        now = step * 0.01
        due.changed("a", now)
        taken += len(due.take(now, 9))
    assert 10.0 / GAP_S * 0.9 <= taken <= 10.0 / GAP_S + 1


def test_nobody_waits_for_ever_behind_those_that_change() -> None:
    """More calls than turns: each has its turn before any has its second."""
    due = DueCalls()
    for number in range(40):
        due.changed(str(number), 0.0)
    first = [call for turn in range(4) for call in due.take(0.02 * turn, 10)]
    assert sorted(first, key=int) == first == [str(number) for number in range(40)]


def test_what_failed_comes_first() -> None:
    """What the store did not take is taken again, and a call that ended meanwhile is not."""
    due = DueCalls()
    for name in "abcd":
        due.changed(name, 0.0)
    assert due.take(0.0, 2) == ["a", "b"]
    due.forget("a")
    due.failed(["a", "b"])
    assert due.take(0.0, 9) == ["b", "c", "d"]
    due.all_due()
    assert due.take(0.0, 9) == ["b", "c", "d"]


def test_nothing_is_left_of_a_call_that_ended() -> None:
    """Whatever happened to it before; all that is here is bounded by the live calls."""
    chance = random.Random(4)
    due = DueCalls()
    live: set[str] = set()
    for step in range(5000):
        call, now = str(chance.randrange(30)), step * 0.05
        match chance.choice(("changed", "take", "failed", "forget", "all")):
            case "changed":
                due.changed(call, now)
                live.add(call)
            case "take":
                assert set(due.take(now, 5)) <= live
            case "failed":
                due.failed([call])
            case "forget":
                due.forget(call)
                live.discard(call)
            case _:
                due.all_due()
        assert len(due) == len(live)
        assert set(due._waiting) | set(due._wheel._tick_of) == live
        assert not set(due._waiting) & set(due._wheel._tick_of)
