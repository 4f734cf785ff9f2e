"""Times without a packet are told apart by the numbers of the sender."""

from __future__ import annotations

import pytest

from transceiver.rtp.gaps import MAX_KEPT, NOT_SENT_GAP_S, GapKind
from transceiver.rtp.opus import CLOCK_HZ
from transceiver.rtp.statistics import ReceptionStatistics

FRAME_S = 0.02


class Sender:
    """Packets of 20 ms, told to the statistics when they come."""

    def __init__(self) -> None:
        self.heard = ReceptionStatistics(1, 65_530)  # the numbers wrap on the way
        self.sequence, self.timestamp, self.now = 65_530, 2**32 - 5000, 100.0

    def send(self, *, skipped: int = 0, silent_s: float = 0.0, late_s: float = 0.0) -> None:
        """The next packet: after packets that are lost, after a silence, or held up on the way."""
        self.sequence += 1 + skipped
        sent_s = FRAME_S * (1 + skipped) + silent_s
        self.timestamp += round(sent_s * CLOCK_HZ)
        self.now += sent_s + late_s
        self.heard.note(self.sequence & 0xFFFF, self.timestamp & 0xFFFF_FFFF, self.now)

    def talk(self, packets: int = 20) -> None:
        for _ in range(packets):
            self.send()


@pytest.mark.parametrize(
    ("packet", "kind", "length_s"),
    [
        ({"skipped": 9}, GapKind.LOST, 0.2),
        ({"late_s": 0.3}, GapKind.DELAYED, 0.32),
        ({"silent_s": 5.0}, GapKind.NOT_SENT, 5.02),
    ],
)
def test_a_gap_and_why(packet: dict[str, float], kind: GapKind, length_s: float) -> None:
    """Lost, held up, or never sent; how long, and when it was over."""
    sender = Sender()
    sender.talk()
    sender.send(**packet)  # type: ignore[arg-type]
    over_s = sender.now
    sender.talk()
    (gap,) = sender.heard.gaps.take()
    assert (gap.kind, gap.until_s) == (kind, over_s)
    assert gap.length_s == pytest.approx(length_s)
    assert sender.heard.gaps.take() == []
    assert sender.heard.gaps.take_longest_s() == pytest.approx(length_s)
    assert sender.heard.gaps.take_longest_s() == 0.0


def test_what_is_no_gap() -> None:
    """Packets in time, one that is lost, and the short silences of DTX."""
    sender = Sender()
    sender.talk()
    sender.send(skipped=1)
    for _ in range(10):
        sender.send(silent_s=0.4)
    sender.send(silent_s=NOT_SENT_GAP_S - 2 * FRAME_S)
    assert sender.heard.gaps.take() == []


def test_what_is_kept_is_bounded() -> None:
    """Of many the longest stay, in their order."""
    sender = Sender()
    for number in range(5 * MAX_KEPT):
        sender.send(skipped=3 + number)
        sender.talk(2)
    gaps = sender.heard.gaps.take()
    assert len(gaps) == MAX_KEPT
    assert [gap.length_s for gap in gaps] == sorted(gap.length_s for gap in gaps)
    assert gaps[-1].length_s == pytest.approx(FRAME_S * (4 + 5 * MAX_KEPT - 1))
