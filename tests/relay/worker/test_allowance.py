"""One token bucket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.worker.allowance import Allowance


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 2000)), max_size=50),
    st.integers(0, 1000),
    st.integers(0, 1000),
)
def test_no_more_is_given_than_the_rate_and_the_burst_allow(
    asked: list[tuple[int, int]], rate_per_s: int, burst: int
) -> None:
    """Whatever is asked for and when."""
    allowance, now_ms, given_in_all = Allowance(rate_per_s, burst), 0, 0
    for pause_ms, wanted in asked:
        now_ms += pause_ms
        given_now = allowance.take(wanted, now_ms)
        assert 0 <= given_now <= wanted
        given_in_all += given_now
        assert given_in_all <= burst + rate_per_s * now_ms / 1000


def test_spending_is_all_or_nothing() -> None:
    """What is refused leaves the tokens to whoever wants fewer."""
    allowance = Allowance(1000, 4)
    assert not allowance.spend(5, now_ms=0)
    assert allowance.spend(4, now_ms=0)
    assert not allowance.spend(1, now_ms=0)
    assert allowance.spend(2, now_ms=2)


def test_a_clock_that_steps_back_gives_nothing() -> None:
    """Nor does it cost anything later."""
    allowance = Allowance(1000, 2)
    assert allowance.take(2, now_ms=100) == 2
    assert allowance.take(1, now_ms=50) == 0
    assert allowance.take(1, now_ms=51) == 1
