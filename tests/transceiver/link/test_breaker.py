"""When a backend is left alone, when it is tried again, and how many retries there may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transceiver.link.breaker import (
    COUNTED_S,
    ENOUGH_FAILURES,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    SUSPECT_S,
    Breaker,
)
from transceiver.link.retry_budget import MOST_SAVED, RetryBudget


def tripped(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(ENOUGH_FAILURES):
        breaker.failed(now)
    return breaker


def test_it_opens_after_enough_missing_answers() -> None:
    """One less changes nothing; the last one closes the way for a pause."""
    breaker = Breaker()
    for _ in range(ENOUGH_FAILURES - 1):
        breaker.failed(0.0)
        assert breaker.allows(0.0)
    breaker.failed(0.0)
    assert breaker.open
    assert not breaker.allows(FIRST_PAUSE_S - 0.01)
    assert breaker.allows(FIRST_PAUSE_S)


def test_a_backend_that_mostly_answers_stays_open_to_calls() -> None:
    """Some missing among many answers is a bad day, not an outage."""
    breaker = Breaker()
    for _ in range(50):
        breaker.succeeded(0.0)
    for _ in range(49):
        breaker.failed(0.0)
    assert breaker.allows(0.0)


def test_old_news_do_not_count() -> None:
    """Missing answers of ten seconds ago do not add up with those of now."""
    breaker = Breaker()
    for _ in range(ENOUGH_FAILURES - 1):
        breaker.failed(0.0)
    breaker.failed(COUNTED_S + 1)
    assert breaker.allows(COUNTED_S + 1)


def test_one_probe_at_a_time() -> None:
    """When the pause is over one call is let through; the next waits for its outcome."""
    breaker = tripped()
    now = FIRST_PAUSE_S
    assert breaker.allows(now)
    breaker.asked(now)
    assert not breaker.allows(now)
    breaker.succeeded(now)
    assert not breaker.open
    assert breaker.allows(now)


def test_a_probe_that_nobody_reports_is_repeated() -> None:
    """A caller may hang up while it waits; that must not close the backend for ever."""
    breaker = tripped()
    breaker.asked(FIRST_PAUSE_S)
    assert breaker.allows(2 * FIRST_PAUSE_S)


def test_failed_probes_double_the_pause_up_to_a_bound() -> None:
    """1, 2, 4, … at most 30 s."""
    breaker, now, pauses = tripped(), 0.0, []
    for _ in range(7):
        began_s = now
        while not breaker.allows(now):
            now += 0.5
        pauses.append(now - began_s)
        breaker.asked(now)
        breaker.failed(now)
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_who_failed_a_moment_ago_is_suspect() -> None:
    """Others are asked first, for a second."""
    breaker = Breaker()
    assert not breaker.suspect(0.0)
    breaker.failed(5.0)
    assert breaker.suspect(5.0)
    assert not breaker.suspect(5.0 + SUSPECT_S)


@given(st.lists(st.booleans(), max_size=2000))
def test_retries_are_a_tenth_at_most(fails: list[bool]) -> None:
    """Whatever fails when, tries again are at most 10 % of first tries, at every moment."""
    budget, again = RetryBudget(), 0
    for first, failed in enumerate(fails, 1):
        budget.earn()
        again += failed and budget.spend()
        assert again * 10 <= first


def test_a_quiet_hour_does_not_pay_for_a_storm() -> None:
    """What can be saved up is bounded."""
    budget = RetryBudget()
    for _ in range(100_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(1000)) == MOST_SAVED
