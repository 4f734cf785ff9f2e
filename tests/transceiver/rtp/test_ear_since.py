"""Playout as the second backend of a call counts it, beside all that happens to the queue."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transceiver.rtp.ear_since import EarSince
from transceiver.rtp.send import PacedSender, Playout
from wire.rtcp import ReportBlock

FRAME = 960


class Stream:
    """A sender that plays as told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sender = PacedSender(1, 111, 100, 0)

    def push(self, frames: int) -> None:
        for _ in range(frames):
            self.sender.push(bytes(40), FRAME, self.now)

    def play(self, frames: int) -> None:
        for _ in range(frames):
            self.now += 0.02
            self.sender.poll(self.now)

    def acknowledge(self) -> None:
        highest = 100 + self.sender.packets - 1
        self.sender.acknowledge(ReportBlock(1, 0, 0, highest, 0, 0, 0))


def test_the_first_backend_counts_all() -> None:
    """There is none before it."""
    stream = Stream()
    ear = EarSince.now(stream.sender)
    stream.push(5)
    stream.play(3)
    assert ear.playout() == stream.sender.playout() == Playout(3, 0, 0, 2)


def test_the_second_counts_from_its_first_frame() -> None:
    """What the first had queued is played, and is none of its business."""
    stream = Stream()
    stream.push(5)
    stream.play(2)
    ear = EarSince.now(stream.sender)
    stream.push(4)
    assert ear.playout() == Playout(0, 0, 0, 4)
    stream.play(3)
    assert ear.playout() == Playout(0, 0, 0, 4)
    stream.play(1)
    stream.acknowledge()
    assert ear.playout() == Playout(1, 1, 0, 3)


def test_a_clear_takes_what_others_had_queued_too() -> None:
    """Only its own frames count as cleared, and its next frame is the next it hears of."""
    stream = Stream()
    stream.push(5)
    ear = EarSince.now(stream.sender)
    stream.push(2)
    stream.play(1)
    ear.clear()
    assert ear.playout() == Playout(0, 0, 2, 0)
    stream.push(2)
    stream.play(1)
    assert ear.playout() == Playout(1, 0, 2, 1)


@given(
    before=st.integers(0, 20),
    steps=st.lists(st.tuples(st.sampled_from(["push", "play", "clear"]), st.integers(1, 5))),
)
def test_every_frame_is_in_one_place(before: int, steps: list[tuple[str, int]]) -> None:
    """Sent, cleared and queued are together what this backend pushed, whatever happens."""
    stream = Stream()
    stream.push(before)
    ear = EarSince.now(stream.sender)
    pushed = 0
    for step, count in steps:
        if step == "push":
            stream.push(count)
            pushed += count
        elif step == "play":
            stream.play(count)
        else:
            ear.clear()
        told = ear.playout()
        assert min(told) >= 0
        assert told.sent + told.cleared + told.queued == pushed
