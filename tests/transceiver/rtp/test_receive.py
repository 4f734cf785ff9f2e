"""The reorder window and the reception figures."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transceiver.rtp.opus import duration
from transceiver.rtp.receive import HOLD_S, MAX_AHEAD, MAX_GIVEN_UP, Frame, ReorderWindow
from transceiver.rtp.statistics import ReceptionStatistics

STARTS = [(0x10000 - 8 + offset) & 0xFFFF for offset in range(16)]  # round the wrap
ticks = 960


def payload_of(index: int) -> bytes:
    return (index & 0xFFFF_FFFF).to_bytes(4)


class Feed:
    """Pushes packets by index; sequence and timestamp begin at `start`, near their wraps."""

    def __init__(self, start: int) -> None:
        self.window = ReorderWindow()
        self.start = start
        self.frames: list[Frame] = []

    def push(self, index: int, now: float = 0.0) -> list[Frame]:
        sequence = (self.start + index) & 0xFFFF
        timestamp = (0xFFFF_F000 + index * ticks) & 0xFFFF_FFFF
        frames = self.window.push(sequence, timestamp, payload_of(index), now)
        self.frames += frames
        return frames

    @property
    def indexes(self) -> list[int]:
        return [int.from_bytes(frame.payload) for frame in self.frames]


@pytest.mark.parametrize("start", STARTS)
def test_a_clean_path_has_no_delay(start: int) -> None:
    """Each packet comes out by itself, at once, with nothing lost."""
    feed = Feed(start)
    for index in range(40):
        assert len(feed.push(index)) == 1
    assert feed.indexes == list(range(40))
    assert not any(frame.lost for frame in feed.frames)
    assert feed.window.deadline_s() is None


@settings(max_examples=60)
@given(st.randoms(use_true_random=False), st.sampled_from(STARTS), st.integers(1, MAX_AHEAD))
def test_any_permutation_within_the_window_comes_out_in_order_once(
    random: object, start: int, width: int
) -> None:
    """Blocks of at most `MAX_AHEAD` packets in any order, some of them twice."""
    feed = Feed(start)
    feed.push(0)
    for block in range(3):
        first = 1 + block * width
        indexes = list(range(first, first + width)) * 2
        random.shuffle(indexes)  # type: ignore[attr-defined]
        for index in indexes:
            feed.push(index)
    assert feed.indexes == list(range(1 + 3 * width))
    assert feed.window.duplicates == 3 * width and feed.window.lost == 0


@pytest.mark.parametrize("start", STARTS)
def test_a_hole_is_given_up_in_time_and_its_packet_is_late(start: int) -> None:
    """After `HOLD_S` what waited goes out and says how many are missing."""
    feed = Feed(start)
    feed.push(0, 0.0)
    assert feed.push(3, 0.02) == [] and feed.push(4, 0.04) == []
    assert feed.window.deadline_s() == pytest.approx(0.02 + HOLD_S)
    assert feed.window.expire(0.02 + HOLD_S - 0.001) == []
    frames = feed.window.expire(0.02 + HOLD_S)
    assert [frame.lost for frame in frames] == [2, 0]
    assert feed.push(1, 0.1) == [] and feed.push(1, 0.1) == []
    assert (feed.window.late, feed.window.duplicates, feed.window.lost) == (1, 1, 2)
    assert [frame.lost for frame in feed.push(5, 0.1)] == [0]


def test_what_packets_waited_adds_up() -> None:
    """A packet in order waits for nothing; one behind a hole until it is filled or given up."""
    feed = Feed(0)
    feed.push(0, 0.0)
    feed.push(2, 0.02)
    feed.push(3, 0.03)
    feed.push(1, 0.05)
    assert feed.window.waited_s == pytest.approx(0.03 + 0.02)
    feed.push(5, 0.06)
    feed.window.expire(0.06 + HOLD_S)
    assert feed.window.waited_s == pytest.approx(0.05 + HOLD_S)
    feed.push(6, 1.0)
    assert feed.window.waited_s == pytest.approx(0.05 + HOLD_S)


@pytest.mark.parametrize("start", STARTS)
def test_a_wide_hole_costs_no_delay(start: int) -> None:
    """A jump over more than the window goes on at once, behind what was held."""
    feed = Feed(start)
    feed.push(0)
    feed.push(2)
    frames = feed.push(40)
    assert [frame.lost for frame in frames] == [1, 37]
    assert feed.indexes == [0, 2, 40]


def test_the_window_is_bounded() -> None:
    """Whatever is pushed, no more than `MAX_AHEAD` packets wait."""
    feed = Feed(0)
    for index in range(0, 4000, 3):
        feed.push(index * 2)
        assert len(feed.window) <= MAX_AHEAD
        assert len(feed.window._given_up) <= MAX_GIVEN_UP


def test_a_second_hole_has_its_own_time() -> None:
    """Giving up one hole does not give up the next one early."""
    feed = Feed(0)
    feed.push(0, 0.0)
    feed.push(2, 0.0)
    feed.push(4, 0.05)
    assert len(feed.window.expire(HOLD_S)) == 1
    assert feed.window.deadline_s() == pytest.approx(0.05 + HOLD_S)


def test_a_sender_that_starts_anew_is_followed_after_two_packets() -> None:
    """One packet from far behind is a stray, the next in its sequence is a restart."""
    feed = Feed(5000)
    feed.push(0)
    assert feed.push(-3000) == []
    assert len(feed.push(-2999)) == 1
    assert len(feed.push(-2998)) == 1


@pytest.mark.parametrize("start", STARTS)
def test_loss_is_expected_less_received(start: int) -> None:
    """RFC 3550 A.3, with the wrap inside the interval; the fraction is of the interval only."""
    heard = ReceptionStatistics(7, start)
    for index in range(20):
        if index % 4 != 3:
            heard.note((start + index) & 0xFFFF, index * ticks, index * 0.02)
    first = heard.report(0, 0)
    # The last one missing is not yet known to be missing.
    assert (first.packets_lost, first.fraction_lost) == (4, (4 << 8) // 19)
    assert first.highest_sequence == start + 18
    for index in range(20, 30):
        heard.note((start + index) & 0xFFFF, index * ticks, index * 0.02)
    second = heard.report(1, 2)
    assert (second.packets_lost, second.fraction_lost) == (5, (1 << 8) // 11)
    assert (second.last_sr, second.delay_since_last_sr) == (1, 2)


def test_duplicates_make_the_loss_negative_and_the_fraction_zero() -> None:
    """A.3 counts what comes, also twice."""
    heard = ReceptionStatistics(7, 10)
    for sequence in (10, 10, 10):
        heard.note(sequence, 0, 0.0)
    report = heard.report(0, 0)
    assert (report.packets_lost, report.fraction_lost) == (-2, 0)


def test_jitter_follows_the_spread_and_survives_the_timestamp_wrap() -> None:
    """Even spacing gives none; 5 ms more and less in turn tends to 10 ms (A.8)."""
    even, uneven = ReceptionStatistics(1, 0), ReceptionStatistics(2, 0)
    for index in range(400):
        timestamp = (0xFFFF_0000 + index * ticks) & 0xFFFF_FFFF
        even.note(index, timestamp, index * 0.02)
        uneven.note(index, timestamp, index * 0.02 + (0.005 if index % 2 else -0.005))
    assert even.jitter < 2
    assert uneven.jitter == pytest.approx(480, rel=0.02)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b"", 0),
        (b"\x78\x00", 960),  # hybrid, 20 ms
        (b"\xf8", 960),
        (b"\xf9ab", 1920),
        (b"\x0b\x02", 1920),
        (b"\x1b\x03", 0),  # 3 frames of 60 ms are more than 120 ms
        (b"\xfb", 0),
        (b"\xfb\x00", 0),
        (b"\xe3\x04", 480),
    ],
)
def test_the_duration_of_an_opus_packet_is_in_its_first_bytes(packet: bytes, expected: int) -> None:
    """RFC 6716 §3.1 and §3.2, and 0 for what is none."""
    assert duration(packet) == expected
