"""Whom a lost call asks, and when it gives up, on a clock of the test."""

from __future__ import annotations

import pytest

from transceiver.restore.policy import (
    LOSSES_S,
    MOST_LOSSES,
    PACE,
    PATIENCE_S,
    RECHECK_S,
    Ask,
    GiveUp,
    Losses,
    Search,
    Wait,
)

LOST_S, WITHIN_S = 100.0, 10.0


def search(retries: int = 0) -> Search[str]:
    left = [True] * retries
    return Search(LOST_S, WITHIN_S, lambda: bool(left and left.pop()))


def test_the_same_backend_is_asked_first() -> None:
    """If it is there, nobody waits, and no other is asked."""
    assert search().next(LOST_S, "same", ["other"]) == Ask("same")


def test_others_are_asked_when_the_same_is_not_back_in_time() -> None:
    """It has a moment to come back; then whoever is like it may go on."""
    looking = search()
    assert isinstance(looking.next(LOST_S, None, ["other"]), Wait)
    assert looking.next(LOST_S + PATIENCE_S, None, ["other", "third"]) == Ask("other")


def test_where_nobody_is_there_it_looks_again_until_the_end() -> None:
    """It waits, never beyond the time that a call may be without a backend, and gives up then."""
    looking = search()
    assert looking.next(LOST_S, None, []) == Wait(LOST_S + RECHECK_S)
    assert looking.next(LOST_S + WITHIN_S - 0.01, None, []) == Wait(LOST_S + WITHIN_S)
    assert looking.next(LOST_S + WITHIN_S, "same", []) == GiveUp("no_backend")


def test_a_second_question_is_paid_for() -> None:
    """After a pause; without a retry to spend it waits for one until the end."""
    poor, rich = search(), search(retries=1)
    for looking in (poor, rich):
        looking.failed(LOST_S)
        assert isinstance(looking.next(LOST_S, "same", []), Wait)
    later_s = LOST_S + PACE.first_s
    assert rich.next(later_s, "same", []) == Ask("same")
    assert poor.next(later_s, "same", []) == Wait(later_s + RECHECK_S)
    assert poor.next(LOST_S + WITHIN_S, "same", []) == GiveUp("no_retries")


def test_what_was_not_asked_costs_nothing() -> None:
    """A backend that had no room after all is looked at again without a retry."""
    looking = search()
    looking.put_off(LOST_S)
    assert looking.next(LOST_S, "same", []) == Wait(LOST_S + RECHECK_S)
    assert looking.next(LOST_S + RECHECK_S, "same", []) == Ask("same")


@pytest.mark.parametrize(("apart_s", "too_many"), [(1.0, True), (LOSSES_S / MOST_LOSSES, False)])
def test_a_call_that_loses_one_after_another(apart_s: float, too_many: bool) -> None:
    """More than five in a minute are too many; as many in a longer time are not."""
    losses = Losses()
    for number in range(MOST_LOSSES):
        losses.note(number * apart_s)
        assert not losses.too_many
    losses.note(MOST_LOSSES * apart_s)
    assert losses.too_many is too_many
    assert losses.total == MOST_LOSSES + 1
