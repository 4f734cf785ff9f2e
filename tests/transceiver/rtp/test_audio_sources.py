"""A caller whose stream is replaced by another: new SSRC, new numbers, the same voice."""

from __future__ import annotations

import pytest

from tests.transceiver.transport.test_srtp import pair
from transceiver.rtp.audio import AudioStream
from transceiver.rtp.receive import Frame
from transceiver.takeover.session_state import STOPPED_BEFORE
from wire import rtcp, rtp
from wire.rtcp import Goodbye, ReceiverReport

OPUS = 111
FRAME_S, TICKS = 0.02, 960
FIRST, SECOND = (0x1111, 0xFFFE, 0xFFFF_FF00), (0x2222, 17, 0x8000_0000)  # SSRC, where it begins

Source = tuple[int, int, int]


class Line:
    """A caller and our end of its audio."""

    def __init__(self, *, decoding: bool = False) -> None:
        self.ours, self.theirs = pair()
        self.audio = AudioStream(OPUS, "cname", 0.0, lambda: 0.5)
        if decoding:
            self.audio.fill_holes()
        self.audio.start(self.ours, 0.0)

    def send(self, source: Source, index: int, now: float) -> list[Frame]:
        ssrc, sequence, timestamp = source
        packet = rtp.write(
            OPUS,
            False,
            (sequence + index) & 0xFFFF,
            (timestamp + index * TICKS) & 0xFFFF_FFFF,
            ssrc,
            b"\xf8" + index.to_bytes(4),
        )
        return self.audio.receive_rtp(self.theirs.protect_rtp(packet), now)


def times(frames: list[Frame]) -> list[int]:
    """RTP times of frames that hold a packet, from the first stream's beginning."""
    return [(f.timestamp - FIRST[2]) & 0xFFFF_FFFF for f in frames if f.payload]


@pytest.mark.parametrize("decoding", [False, True])
def test_another_source_goes_on_in_time(decoding: bool) -> None:
    """The backend hears one voice: no leap, no loss, and reports speak of the new source."""
    line = Line(decoding=decoding)
    frames = [f for n in range(5) for f in line.send(FIRST, n, n * FRAME_S)]
    frames += [f for n in range(5) for f in line.send(SECOND, n, (5 + n) * FRAME_S)]
    assert times(frames) == [n * TICKS for n in range(10)]
    assert not any(frame.lost for frame in frames)
    assert line.audio.heard is not None
    assert line.audio.heard.ssrc == SECOND[0]
    assert (line.audio.received, line.audio.lost) == (10, 0)
    assert line.audio.heard.jitter < 1


def test_a_pause_between_two_sources_is_a_pause() -> None:
    """Three seconds without a stream are three seconds to the backend."""
    line = Line()
    frames = line.send(FIRST, 0, 0.0) + line.send(SECOND, 0, 3.0)
    assert times(frames) == [0, 3 * 48_000]


def test_a_source_after_a_goodbye_goes_on_in_time() -> None:
    """A BYE ends a stream, not the voice; the same SSRC may come back with other numbers."""
    line = Line()
    frames = line.send(FIRST, 0, 0.0)
    goodbye = rtcp.write([ReceiverReport(FIRST[0]), Goodbye((FIRST[0],))])
    line.audio.receive_rtcp(line.theirs.protect_rtcp(goodbye), 0.01)
    frames += line.send((FIRST[0], 300, 5), 0, FRAME_S)
    assert times(frames) == [0, TICKS]


def test_what_an_earlier_source_cost_is_still_counted() -> None:
    """Lost and late packets are the call's, whatever its sources."""
    line = Line()
    line.send(FIRST, 0, 0.0)
    line.send(FIRST, 3, 0.02)
    line.audio.window.expire(1.0)
    line.send(FIRST, 1, 1.0)
    line.send(SECOND, 0, 1.1)
    assert (line.audio.lost, line.audio.late) == (1, 1)


def test_the_time_goes_on_in_another_process() -> None:
    """The shift is part of the state."""
    line = Line()
    line.send(FIRST, 0, 0.0)
    line.send(SECOND, 0, FRAME_S)
    state = line.audio.export(FRAME_S)
    heir = AudioStream(OPUS, "cname", 0.0, lambda: 0.5)
    heir.resume(state, FRAME_S, FRAME_S, STOPPED_BEFORE)
    line.audio = heir
    assert times(line.send(SECOND, 1, 2 * FRAME_S)) == [2 * TICKS]
