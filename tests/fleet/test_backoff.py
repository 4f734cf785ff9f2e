"""One rule of waiting for all who try again: bounded, and only what held starts it anew."""

from __future__ import annotations

import pytest

from fleet.backoff import STORE_PACE, Backoff, Pace
from launcher.keeper import RESTART_PACE as PART_PACE
from relay.supervisor.post import RESTART_PACE as WORKER_PACE
from transceiver.link.model_link import RECONNECT_PACE
from transceiver.pod.member import RESTART_PACE as PROCESS_PACE

PACES = [STORE_PACE, PART_PACE, WORKER_PACE, PROCESS_PACE, RECONNECT_PACE]
EVEN = Pace(0.5, 10, spread=False)


def test_waits_double_up_to_the_longest() -> None:
    """Nothing failed, nothing to wait for; then 0.5 s, 1 s, 2 s … and the cap."""
    assert [EVEN.wait_s(n) for n in range(8)] == [0, 0.5, 1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("failures", [1, 2, 31, 1023, 1024, 1_000_000, 10**400])
def test_no_number_of_failures_is_too_many(pace: Pace, failures: int) -> None:
    """A thing that fails for days is tried again as on the first; 2**1024 is not computed."""
    assert 0 < pace.wait_s(failures, lambda: 0.0) <= pace.wait_s(failures, lambda: 0.999)
    assert pace.wait_s(failures) <= pace.longest_s


def test_half_of_a_wait_is_random() -> None:
    """Thousands that lost one thing at one moment do not come back together."""
    pace = Pace(0.2, 3)
    assert [pace.wait_s(n, lambda: 0.0) for n in (1, 2, 9)] == [0.1, 0.2, 1.5]
    assert [pace.wait_s(n, lambda: 1.0) for n in (1, 2, 9)] == [0.2, 0.4, 3.0]


def test_only_a_life_that_held_ends_the_row() -> None:
    """What begins well and breaks at once goes on waiting longer."""
    backoff = Backoff(EVEN, steady_s=30)
    assert [backoff.after(lived_s) for lived_s in (0, 1, 29, float("-inf"))] == [0.5, 1, 2, 4]
    assert [backoff.after(lived_s) for lived_s in (30, 1, 31)] == [0, 0.5, 0]
