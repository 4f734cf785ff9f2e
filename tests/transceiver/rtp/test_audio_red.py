"""Redundancy and pauses through the audio of a call: SRTP in between, losses on the way."""

from __future__ import annotations

import pytest

from tests.transceiver.transport.test_srtp import pair
from transceiver.rtp import red
from transceiver.rtp.audio import AudioStream
from transceiver.rtp.receive import Frame
from transceiver.rtp.red import Block
from transceiver.rtp.send import PacedSender
from wire import rtp
from wire.rtcp import ReportBlock

OPUS, RED, SSRC = 111, 63, 0x1234
FRAME_S, TICKS = 0.02, 960
DTX = b"\xf8"


def payload_of(index: int) -> bytes:
    return b"\xf8" + index.to_bytes(4)


class Line:
    """A caller that sends redundancy, and our end of it."""

    def __init__(self, red_payload_type: int | None = RED, *, decoding: bool = False) -> None:
        ours, self.theirs = pair()
        self.audio = AudioStream(OPUS, "cname", 0.0, lambda: 0.5, red_payload_type)
        if decoding:
            self.audio.fill_holes()
        self.audio.start(ours, 0.0)

    def send(self, index: int, copies: int = 1, payload: bytes | None = None) -> list[Frame]:
        """What a packet lets go that carries the `copies` packets before it, too."""
        earlier = [
            Block(OPUS, back * TICKS, payload_of(index - back)) for back in range(copies, 0, -1)
        ]
        body = red.write(earlier, OPUS, payload_of(index)) if payload is None else payload
        packet = rtp.write(RED, False, index & 0xFFFF, index * TICKS, SSRC, body)
        return self.audio.receive_rtp(self.theirs.protect_rtp(packet), index * FRAME_S)


@pytest.mark.parametrize("decoding", [False, True])
def test_a_lost_packet_comes_back_with_the_next(decoding: bool) -> None:
    """In order, at once, as a packet of its own and not as a loss."""
    line = Line(decoding=decoding)
    frames = [frame for index in range(1, 10) if index != 5 for frame in line.send(index)]
    assert [frame.payload for frame in frames] == [payload_of(index) for index in range(1, 10)]
    assert [frame.timestamp for frame in frames] == [index * TICKS for index in range(1, 10)]
    assert not any(frame.lost for frame in frames)
    assert (line.audio.recovered, line.audio.window.lost, line.audio.window.duplicates) == (1, 0, 0)
    assert line.audio.lost == 1  # what reports say to the caller stays true


@pytest.mark.parametrize("decoding", [False, True])
def test_two_copies_bridge_two_losses_and_one_does_not(decoding: bool) -> None:
    """A loss longer than the copies is a loss; what is left of it is told."""
    line = Line(decoding=decoding)
    frames = line.send(10) + line.send(13, copies=2)
    assert [frame.payload for frame in frames] == [payload_of(n) for n in (10, 11, 12, 13)]
    frames = line.send(16, copies=1)
    if not decoding:
        assert frames == []  # 14 may still come
        frames = line.audio.window.flush()
    found = [frame.payload for frame in frames if frame.payload]
    assert found[-2:] == [payload_of(15), payload_of(16)]
    assert sum(frame.lost for frame in frames) == 1


def test_a_packet_that_was_only_overtaken_counts_as_a_duplicate() -> None:
    """Its copy has already been used, so it changes nothing when it comes."""
    line = Line()
    frames = line.send(1) + line.send(3) + line.send(2)
    assert [frame.payload for frame in frames] == [payload_of(n) for n in (1, 2, 3)]
    assert line.audio.window.duplicates == 1


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "red_short"),
        (bytes([0x80 | OPUS, 0, 0, 9, OPUS]) + b"abc", "red_short"),
        (bytes([0x80 | OPUS, 0, 0, 0]) * 9 + bytes([OPUS]), "red_blocks"),
        (bytes([0]) + b"pcmu", "red_payload_type"),
    ],
)
def test_bad_redundancy_is_dropped_with_its_reason(payload: bytes, reason: str) -> None:
    """It is counted, and the next good packet is heard."""
    line = Line()
    assert line.send(1, payload=payload) == []
    assert line.audio.dropped == {reason: 1}
    assert line.send(2, copies=0)


def test_redundancy_that_was_not_agreed_on_is_no_payload_of_ours() -> None:
    """Without red in the answer its payload type is foreign."""
    line = Line(red_payload_type=None)
    assert line.send(1) == []
    assert line.audio.dropped == {"rtp_payload_type": 1}


def report(sender_sequence: int, lost: int = 0, fraction: int = 0) -> ReportBlock:
    return ReportBlock(SSRC, fraction, lost, sender_sequence, 0, 0, 0)


def sent_by(sender: PacedSender, payloads: list[bytes]) -> list[rtp.RtpPacket]:
    """What leaves when a backend says these, from the sender's next due time on."""
    for payload in payloads:
        assert sender.push(payload, TICKS, 0.0)
    packets, now = [], sender.due_s(0.0) or 0.0
    while len(sender):
        now = max(now, sender.due_s(now) or now)
        packet = sender.poll(now)
        packets += [] if packet is None else [rtp.read(packet)]
    return packets


def test_loss_makes_us_send_redundancy_that_can_be_read() -> None:
    """After a report of loss each packet carries the one before it; its numbers go on."""
    sender = PacedSender(SSRC, OPUS, 0xFFFE, 0xFFFF_FF00, red_payload_type=RED)
    sent_by(sender, [payload_of(n) for n in range(3)])
    assert sender.acknowledge(report(0, fraction=26))
    packets = sent_by(sender, [payload_of(n) for n in range(3, 6)])
    assert [packet.payload_type for packet in packets] == [RED] * 3
    assert [packet.sequence for packet in packets] == [1, 2, 3]
    for n, packet in enumerate(packets, 3):
        assert red.read(packet.payload) == [
            Block(OPUS, TICKS, payload_of(n - 1)),
            Block(OPUS, 0, payload_of(n)),
        ]
    assert sender.playout()[:2] == (6, 3)


def test_a_pause_of_the_backend_sends_one_packet_and_a_marker_after_it() -> None:
    """DTX packets after the first are left out; time goes on, the sequence has no hole."""
    sender = PacedSender(SSRC, OPUS, 10, 0)
    packets = sent_by(sender, [payload_of(0), DTX, DTX, DTX, payload_of(4), payload_of(5)])
    assert [packet.sequence for packet in packets] == [10, 11, 12, 13]
    assert [packet.timestamp // TICKS for packet in packets] == [0, 1, 4, 5]
    assert [packet.marker for packet in packets] == [True, False, True, False]
    assert (sender.packets, sender.frames) == (4, 6)


def test_playout_counts_frames_across_pauses() -> None:
    """A report on packets comes out in frames, silent ones with the packet before them."""
    sender = PacedSender(SSRC, OPUS, 10, 0)
    sent_by(sender, [payload_of(0), DTX, DTX, DTX, payload_of(4), payload_of(5), DTX, DTX])
    assert sender.playout() == (8, 0, 0, 0)
    assert sender.acknowledge(report(10))
    assert sender.acked == 1
    assert sender.acknowledge(report(11))
    assert sender.acked == 4
    assert sender.acknowledge(report(13, lost=1))
    assert sender.acked == 5
    assert sender.acknowledge(report(14))
    assert sender.acked == 8
    assert not sender.acknowledge(report(11))
    assert sender.acked == 8


def test_pauses_beyond_the_bound_are_counted_together() -> None:
    """However many pauses nobody reports on, memory is bounded and the sum is right in the end."""
    sender = PacedSender(SSRC, OPUS, 0, 0)
    for _ in range(600):
        sent_by(sender, [payload_of(0), DTX, DTX])
    assert len(sender._skipped._noted) <= 512
    assert sender.acknowledge(report(1199))
    assert sender.playout() == (1800, 1800, 0, 0)
