"""The timer wheel: rounding, replacement, and what it keeps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transceiver.engine.wheel import TICK_S, Wheel


def test_a_deadline_comes_at_the_first_tick_not_before_it() -> None:
    """Never early, and at most one tick late."""
    wheel: Wheel[str] = Wheel()
    wheel.schedule("a", 1.0001)
    next_s = wheel.next_s()
    assert next_s is not None and 1.0001 <= next_s < 1.0001 + TICK_S
    assert wheel.expire(1.0001 - TICK_S) == []
    assert wheel.expire(next_s) == ["a"]
    assert wheel.next_s() is None and len(wheel) == 0


def test_a_later_deadline_replaces_an_earlier_one_and_cancel_takes_it_off() -> None:
    """A key has one place."""
    wheel: Wheel[str] = Wheel()
    wheel.schedule("a", 1.0)
    wheel.schedule("a", 2.0)
    assert wheel.expire(1.5) == []
    wheel.cancel("a")
    wheel.cancel("a")
    assert wheel.expire(3.0) == [] and len(wheel) == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 100)), max_size=60), st.floats(0, 110))
def test_exactly_the_due_keys_come_in_order(moves: list[tuple[int, float]], now: float) -> None:
    """Whatever was rescheduled, each key comes once, by its last deadline."""
    wheel: Wheel[int] = Wheel()
    last = {}
    for key, when_s in moves:
        wheel.schedule(key, when_s)
        last[key] = when_s
    due = wheel.expire(now)
    assert len(due) == len(set(due))
    assert set(due) >= {key for key in last if last[key] <= now - TICK_S}
    assert all(last[key] <= now + 1e-6 for key in due)
    next_s = wheel.next_s()
    assert (next_s is None) == (len(wheel) == 0)
    assert next_s is None or next_s > now - TICK_S


def test_a_key_that_asks_for_the_past_waits_for_the_next_tick() -> None:
    """A deadline that is always overdue costs one wake-up a tick, not a busy loop."""
    wheel: Wheel[str] = Wheel()
    wheel.schedule("a", 1.0)
    assert wheel.expire(1.0) == ["a"]
    wheel.schedule("a", 0.5)
    assert wheel.expire(1.0) == []
    assert wheel.expire(1.0 + TICK_S) == ["a"]


@given(st.floats(0, 1e6))
def test_at_the_time_it_names_a_deadline_is_due_and_not_before_it_was_asked(when_s: float) -> None:
    """No rounding makes `next_s` and `expire` disagree."""
    wheel: Wheel[str] = Wheel()
    wheel.schedule("a", when_s)
    next_s = wheel.next_s()
    assert next_s is not None and next_s >= when_s
    assert wheel.expire(next_s) == ["a"]
