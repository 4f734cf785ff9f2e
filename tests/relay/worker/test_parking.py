"""Parking: bounds in packets, time, questions and memory; order; what is remembered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.worker.parking import BURST_S, Parking, Verdict

NOW_MS = 1_000_000


def parking(**bounds: int) -> Parking:
    return Parking(**{"packets": 100, "questions_per_s": 10, **bounds})


def address(number: int) -> bytes:
    return number.to_bytes(18)


def test_packets_come_back_in_order() -> None:
    """One question for an address however many packets wait; an answer releases them all."""
    lots = parking()
    for number in range(3):
        assert lots.park(address(1), bytes([number]), NOW_MS) is Verdict.PARKED
    assert lots.questions() == [address(1)]
    assert lots.questions() == []
    assert lots.release(address(1)) == [b"\0", b"\1", b"\2"]
    assert len(lots) == 0


def test_one_address_cannot_take_all_the_room() -> None:
    """An address has its own bound, and another one still finds room."""
    lots = parking(packets_per_address=2)
    verdicts = [lots.park(address(1), b"x", NOW_MS) for _ in range(3)]
    assert verdicts == [Verdict.PARKED, Verdict.PARKED, Verdict.FULL]
    assert lots.park(address(2), b"x", NOW_MS) is Verdict.PARKED


def test_room_in_all_is_bounded() -> None:
    """Beyond the bound neither a new nor a known address is kept, until something leaves."""
    lots = parking(packets=2)
    assert lots.park(address(1), b"x", NOW_MS) is Verdict.PARKED
    assert lots.park(address(2), b"x", NOW_MS) is Verdict.PARKED
    assert lots.park(address(2), b"x", NOW_MS) is Verdict.FULL
    assert lots.park(address(3), b"x", NOW_MS) is Verdict.FULL
    lots.release(address(1))
    assert lots.park(address(3), b"x", NOW_MS) is Verdict.PARKED


def test_what_waits_too_long_is_dropped() -> None:
    """Time runs from the first packet of an address; a later address waits on."""
    lots = parking(hold_ms=250)
    lots.park(address(1), b"x", NOW_MS)
    lots.park(address(1), b"x", NOW_MS + 200)
    lots.park(address(2), b"x", NOW_MS + 200)
    assert lots.expire(NOW_MS + 249) == 0
    assert lots.expire(NOW_MS + 250) == 2
    assert lots.release(address(1)) == []
    assert lots.release(address(2)) == [b"x"]


def test_an_address_that_nobody_had_is_not_asked_about_for_a_while() -> None:
    """Its packets are dropped at once, and after a second it may be asked about again."""
    lots = parking(forget_ms=1000)
    lots.park(address(1), b"x", NOW_MS)
    assert lots.refuse(address(1), NOW_MS) == 1
    assert lots.park(address(1), b"x", NOW_MS + 999) is Verdict.UNKNOWN
    assert lots.park(address(1), b"x", NOW_MS + 1000) is Verdict.PARKED


def test_questions_are_bounded_per_second() -> None:
    """After the burst, a flood of strangers gets as many questions as the second gives."""
    lots = parking(packets=10_000, questions_per_s=10)
    verdicts = [lots.park(address(n), b"x", NOW_MS) for n in range(1000)]
    assert verdicts.count(Verdict.PARKED) == len(lots.questions()) == 10 * BURST_S
    assert set(verdicts[10 * BURST_S :]) == {Verdict.NOT_ASKED}
    later = [lots.park(address(5000 + n), b"x", NOW_MS + 1000) for n in range(1000)]
    assert later.count(Verdict.PARKED) == len(lots.questions()) == 10


def test_what_is_remembered_is_bounded_and_fades() -> None:
    """Of too many addresses that nobody had, the oldest are forgotten; in time, all."""
    lots = parking(max_unknown=3, questions_per_s=1000)
    for number in range(5):
        lots.refuse(address(number), NOW_MS + number)
    assert lots.remembered == 3
    assert lots.park(address(0), b"x", NOW_MS + 5) is Verdict.PARKED
    assert lots.park(address(4), b"x", NOW_MS + 5) is Verdict.UNKNOWN
    lots.expire(NOW_MS + 2000)
    assert lots.remembered == 0


def test_a_question_whose_packets_are_gone_is_not_asked() -> None:
    """A STUN request was quicker than the next look at the questions."""
    lots = parking()
    lots.park(address(1), b"x", NOW_MS)
    lots.release(address(1))
    assert lots.questions() == []


STEPS = st.lists(
    st.tuples(st.sampled_from(["park", "release", "refuse", "expire"]), st.integers(0, 30)),
    max_size=200,
)


@given(STEPS)
def test_nothing_grows_and_nothing_is_lost(steps: list[tuple[str, int]]) -> None:
    """Whatever happens: bounds hold, and each parked packet leaves exactly once."""
    lots = parking(packets=8, packets_per_address=3, max_unknown=4, questions_per_s=1000)
    parked = left = 0
    now_ms = NOW_MS
    for step, number in steps:
        now_ms += number
        if step == "park":
            parked += lots.park(address(number % 6), b"x", now_ms) is Verdict.PARKED
        elif step == "release":
            left += len(lots.release(address(number % 6)))
        elif step == "refuse":
            left += lots.refuse(address(number % 6), now_ms)
        else:
            left += lots.expire(now_ms)
        assert len(lots) == parked - left <= 8
        assert lots.remembered <= 4
    assert lots.expire(now_ms + 1000) == parked - left
