"""The paced sender on virtual time: rhythm, silence, bounds and the played-out position."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable

import pytest

from transceiver.rtp.send import HURRY, TALKSPURT_GAP_S, PacedSender, Playout
from wire import rtp
from wire.rtcp import ReportBlock
from wire.rtp import RtpPacket

FRAME_S, TICKS = 0.02, 960
SSRC = 0xAABBCCDD


def make(sequence: int = 0xFFFE, timestamp: int = 0xFFFF_FFF0, **options: int) -> PacedSender:
    return PacedSender(SSRC, 111, sequence, timestamp, **options)


def push(sender: PacedSender, count: int = 1, now: float = 0.0) -> None:
    for _ in range(count):
        assert sender.push(b"opus", TICKS, now)


def play(sender: PacedSender, start_s: float, until_s: float) -> list[tuple[float, RtpPacket]]:
    """Poll whenever the sender says, as the wheel would; what left and when."""
    sent = []
    now = start_s
    while (due_s := sender.due_s(now)) is not None and max(due_s, now) <= until_s:
        now = max(due_s, now)
        packet = sender.poll(now)
        assert packet is not None, "due_s promised a packet"
        sent.append((now, rtp.read(packet)))
    return sent


def test_frames_leave_one_per_duration_with_continuous_numbers() -> None:
    """Sequence and timestamp wrap without a seam; only the first packet has the marker."""
    sender = make()
    push(sender, 5)
    sent = play(sender, 10.0, 11.0)
    assert [now for now, _ in sent] == pytest.approx([10 + FRAME_S * n for n in range(5)])
    assert [packet.sequence for _, packet in sent] == [0xFFFE, 0xFFFF, 0, 1, 2]
    first = 0xFFFF_FFF0
    expected = [(first + TICKS * n) & 0xFFFF_FFFF for n in range(5)]
    assert [packet.timestamp for _, packet in sent] == expected
    assert [packet.marker for _, packet in sent] == [True] + [False] * 4
    assert {packet.payload_type for _, packet in sent} == {111}
    assert (sender.packets, sender.octets) == (5, 20)


@pytest.mark.parametrize("duration", [120, 480, 960, 1920, 2880])
def test_each_frame_is_paced_by_its_own_duration(duration: int) -> None:
    """A 60 ms frame holds the next one for 60 ms."""
    sender = make(0, 0)
    sender.push(b"one", duration, 0.0)
    sender.push(b"two", TICKS, 0.0)
    (first_s, first), (second_s, second) = play(sender, 0.0, 1.0)
    assert second_s - first_s == pytest.approx(duration / 48000)
    assert second.timestamp - first.timestamp == duration


def test_jitter_of_the_backend_does_not_add_up() -> None:
    """Frames that come up to half a frame late leave at once and keep the rhythm of the first."""
    sender = make(0, 0)
    late_s = [0.0, 0.009, 0.002, 0.008, 0.0, 0.009]
    left = []
    for index, late in enumerate(late_s):
        now = index * FRAME_S + late
        push(sender, 1, now)
        left += play(sender, now, now + 0.0101)
    assert [packet.timestamp for _, packet in left] == [n * TICKS for n in range(6)]
    assert left[-1][0] == pytest.approx(5 * FRAME_S + 0.009)
    assert sender.due_s(0.2) is None


def live(sender: PacedSender, arrivals_s: Iterable[float]) -> list[float]:
    """How long each frame waits whose arrival is given, polled as it comes and when it is due."""
    waiting: deque[float] = deque()
    waits: list[float] = []
    for now in [*arrivals_s, math.inf]:
        for left_s, _ in play(sender, waiting[0] if waiting else now, now):
            waits.append(left_s - waiting.popleft())
        if now < math.inf:
            push(sender, 1, now)
            waiting.append(now)
    return waits


def test_a_first_frame_that_was_late_delays_nobody_after_it() -> None:
    """Frames that find an empty queue leave up to half a frame before the rhythm of the first."""
    waits = live(make(0, 0), [0.009, *(n * FRAME_S for n in range(1, 20))])
    assert max(waits) < 0.001


@pytest.mark.parametrize("late_s", [0.04, 0.1, 0.19])
def test_a_queue_that_only_stands_is_drained(late_s: float) -> None:
    """After a slow start the wait of every frame shrinks to nothing, without a burst or a gap."""
    sender = make(0, 0)
    arrivals_s = [late_s, *(max(late_s, n * FRAME_S) for n in range(1, 400))]
    waits = live(sender, arrivals_s)
    assert waits[20] == pytest.approx(late_s, abs=0.011)
    assert max(waits[-50:]) < 0.001
    left_s = [came + wait for came, wait in zip(arrivals_s, waits, strict=True)]
    spacing = [after - before for before, after in itertools.pairwise(left_s)]
    assert min(spacing[30:300]) >= FRAME_S * (1 - HURRY) - 0.0101
    assert sender.packets == 400


def test_a_backend_ahead_of_time_is_not_hurried() -> None:
    """What was said faster than real time is sent in real time, however long it takes."""
    growing = live(make(0, 0), [n * FRAME_S / 2 for n in range(200)])
    assert growing[-1] == pytest.approx(199 * FRAME_S / 2, abs=0.011)
    far_ahead = live(make(0, 0), [0.0] * 50 + [n * FRAME_S for n in range(1, 200)])
    assert far_ahead[-1] == pytest.approx(49 * FRAME_S, abs=0.011)


@pytest.mark.parametrize("gap_s", [0.5, 3.0, 100.0])
def test_a_pause_moves_the_timestamp_as_the_wall_clock(gap_s: float) -> None:
    """After silence: whole frames skipped, the next sequence number, a marker."""
    sender = make(7, 0)
    push(sender)
    play(sender, 0.0, 0.0)
    push(sender, 2, FRAME_S + gap_s)
    sent = [packet for _, packet in play(sender, FRAME_S + gap_s, FRAME_S + gap_s + 1)]
    assert sent[0].timestamp == pytest.approx(TICKS + gap_s * 48000, abs=TICKS)
    assert sent[0].timestamp % TICKS == 0
    assert [packet.sequence for packet in sent] == [8, 9]
    assert [packet.marker for packet in sent] == [True, False]


def test_late_frames_of_a_live_source_are_the_next_sound() -> None:
    """Frames that each come a little late leave at once, without a hole and without queueing."""
    sender = make(0, 0)
    push(sender)
    play(sender, 0.0, 0.0)
    for number, late_s in enumerate((0.03, 0.03, 0.1, 0.09, 0.09), start=1):
        now = number * FRAME_S + late_s
        push(sender, 1, now)
        sent = play(sender, now, now + FRAME_S / 2)
        assert [(packet.timestamp, packet.marker) for _, packet in sent] == [
            (number * TICKS, False)
        ]
        assert sender.playout().queued == 0


def test_a_late_loop_catches_up_without_a_burst() -> None:
    """After a stall frames follow at twice their rate until they are on time again."""
    sender = make(0, 0)
    push(sender, 20)
    play(sender, 0.0, 0.0)
    sent = play(sender, 0.1, 1.0)
    spacing = [after - before for (before, _), (after, _) in itertools.pairwise(sent)]
    assert min(spacing) == pytest.approx(FRAME_S / 2)
    assert sent[-1][0] == pytest.approx(19 * FRAME_S)
    assert sent[-1][1].timestamp == 19 * TICKS


def test_a_very_late_loop_skips_instead_of_catching_up() -> None:
    """Beyond `TALKSPURT_GAP_S` the stall is a pause for the listener."""
    sender = make(0, 0)
    push(sender, 3)
    play(sender, 0.0, 0.0)
    sent = play(sender, FRAME_S + TALKSPURT_GAP_S, 1.0)
    assert [packet.timestamp for _, packet in sent] == [11 * TICKS, 12 * TICKS]
    assert sent[1][0] - sent[0][0] == pytest.approx(FRAME_S)


def test_the_queue_is_bounded_and_unfit_frames_are_refused() -> None:
    """A full queue, an empty or too long frame, and an impossible duration change nothing."""
    sender = make(max_queued=3)
    push(sender, 3)
    assert not sender.push(b"opus", TICKS, 0.0)
    sender.clear()
    for payload, duration in ((b"", TICKS), (bytes(1276), TICKS), (b"a", 0), (b"a", 5761)):
        assert not sender.push(payload, duration, 0.0)
    assert sender.playout() == Playout(sent=0, acked=0, cleared=3, queued=0)
    assert sender.refused == 5


def test_clear_forgets_what_is_queued_and_keeps_the_rhythm() -> None:
    """What comes after an interruption follows the last frame that left, not the cleared ones."""
    sender = make(0, 0)
    push(sender, 10)
    play(sender, 0.0, 2 * FRAME_S)
    assert sender.clear() == 7
    push(sender, 1, 2 * FRAME_S + 0.001)
    ((now, packet),) = play(sender, 2 * FRAME_S + 0.001, 1.0)
    assert now == pytest.approx(2.5 * FRAME_S)
    assert (packet.timestamp, packet.sequence) == (3 * TICKS, 3)
    assert sender.playout() == Playout(sent=4, acked=0, cleared=7, queued=0)


def report(highest: int, lost: int = 0, ssrc: int = SSRC) -> ReportBlock:
    return ReportBlock(ssrc, 0, lost, highest, 0, 0, 0)


@pytest.mark.parametrize("start", [0, 5, 0xFFF0, 0xFFFF])
def test_acknowledged_frames_are_those_reported_less_those_lost(start: int) -> None:
    """Whatever cycles the receiver counts; never more than sent, never back."""
    sender = make(start, 0)
    push(sender, 40)
    play(sender, 0.0, 1.0)
    assert sender.acknowledge(report(start + 19))
    assert sender.acked == 20
    assert not sender.acknowledge(report(start + 9))
    assert sender.acknowledge(report((start + 39) & 0xFFFF, lost=3))
    assert sender.acked == 37
    assert not sender.acknowledge(report(start + 39, lost=-5, ssrc=1))
    assert sender.acknowledge(report(start + 39, lost=-5))
    assert sender.acked == 40


def test_the_reported_rtp_time_runs_with_the_clock() -> None:
    """A sender report during silence says the timestamp sound would have now (RFC 3550 §6.4.1)."""
    sender = make(0, 1000)
    assert sender.rtp_time(5.0) == 1000
    push(sender)
    play(sender, 5.0, 5.0)
    assert sender.rtp_time(5.0) == pytest.approx(1000, abs=1)
    assert sender.rtp_time(7.0) == pytest.approx(1000 + 96000, abs=1)


@pytest.mark.parametrize(
    ("ear", "expected"),
    [
        ((2, 1, 0), Playout(2, 1, 0, 6)),  # the one before sent no more than we know of
        ((5, 4, 0), Playout(5, 4, 0, 3)),  # it sent three of those that we have queued
        ((3, 2, 3), Playout(3, 2, 3, 2)),  # and here one, before it cleared three
        ((9, 7, 3), Playout(9, 7, 3, 0)),  # four that we have never seen are past as well
    ],
)
def test_a_stream_goes_on_where_the_ear_is(ear: tuple[int, int, int], expected: Playout) -> None:
    """What another process sent or cleared since is not played; the counts go on from its own."""
    sender = make()
    push(sender, 8)
    play(sender, 0.0, 1.5 * FRAME_S)
    assert sender.playout() == (2, 0, 0, 6)
    sender.carry_on(*ear)
    assert sender.playout() == expected
    assert sender.used == max(2, ear[0] + ear[2])
