from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pylibsrtp import Policy, Session

from loadtest.callers.port import MAX_WAITING, Later
from loadtest.callers.voice import Voice
from loadtest.live.histogram import STEP, Histogram
from loadtest.live.line import CHUNK_FRAMES, Line
from loadtest.live.network import one_way
from loadtest.live.order import Mix, Network, Order, Point, calls_at
from loadtest.live.speaking import Kind, is_talking, payload, starts_talking, vocabulary
from loadtest.live.tally import Tally, total
from wire import rtp

KEYS = bytes(range(30)), bytes(range(30, 60))


def session(key: bytes, direction: int) -> Session:
    return Session(Policy(key=key, ssrc_type=direction))


class Far:
    """The other side: opens what a line says and says it back under its own keys."""

    def __init__(self) -> None:
        self._in = session(KEYS[0], Policy.SSRC_ANY_INBOUND)
        self._out = session(KEYS[1], Policy.SSRC_ANY_OUTBOUND)
        self._sequence = 0

    def hears(self, packet: bytes) -> bytes:
        return rtp.read(self._in.unprotect(packet)).payload

    def says(self, words: bytes) -> bytes:
        self._sequence += 1
        return self._out.protect(rtp.write(111, False, self._sequence, 0, 9, words))


def line(kind: Kind = "always", *, echoes: bool = True) -> Line:
    outgoing = session(KEYS[0], Policy.SSRC_ANY_OUTBOUND)
    incoming = session(KEYS[1], Policy.SSRC_ANY_INBOUND)
    return Line(Voice(outgoing, incoming, 5), kind, vocabulary(), echoes, started_s=100.0)


def order(**changes: object) -> Order:
    given = {
        "urls": ("http://127.0.0.1:1",),
        "api_key": "k",
        "ramp": (Point(at_s=0, calls=10),),
        "mixes": (Mix(name="a"),),
        "seconds": 5,
        "dead_after_s": 5,
    }
    return Order.model_validate(given | changes)


def test_no_two_words_are_alike() -> None:
    """An echo can name its frame only if every packet of the vocabulary is another."""
    words = vocabulary()
    assert len({*words.loud, *words.quiet}) == len(words.loud) + len(words.quiet)
    assert min(len(words.loud), len(words.quiet)) > 100


@pytest.mark.parametrize(
    ("kind", "talking"), [("always", 500), ("never", 0), ("turns", 200), ("barge_in", 200)]
)
def test_how_much_each_kind_talks(kind: Kind, talking: int) -> None:
    """Ten seconds of each kind have as many frames of speech as its rhythm says."""
    assert sum(is_talking(kind, frame) for frame in range(500)) == talking


def test_a_turn_begins_once() -> None:
    """Turns start where speech follows a pause, and at the very first frame."""
    starts = [frame for frame in range(600) if starts_talking("turns", frame)]
    assert starts == [0, 250, 500]
    assert [frame for frame in range(99) if starts_talking("always", frame)] == [0]


def test_speech_and_pause_use_their_own_words() -> None:
    """What is sent in a pause is what a quiet room sounds like."""
    words = vocabulary()
    assert payload(words, "turns", 0) in words.loud
    assert payload(words, "turns", 150) in words.quiet


@given(times=st.lists(st.floats(0.02, 1e6), min_size=1, max_size=200), percent=st.floats(1, 100))
def test_a_percentile_is_right_to_two_percent(times: list[float], percent: float) -> None:
    """The histogram never says less than the true percentile and at most one bin more."""
    histogram = Histogram()
    histogram.add(times)
    truth = np.percentile(times, percent, method="inverted_cdf")
    found = histogram.percentile(percent)
    assert found is not None
    assert truth * 0.99 <= found <= truth * STEP * 1.01 + 0.001


def test_an_empty_histogram_has_no_percentile() -> None:
    """Nothing measured is None and not zero."""
    assert Histogram().percentile(99) is None


def test_a_histogram_is_bounded() -> None:
    """Times beyond every bin are counted in the last one, and no other bin can be named."""
    histogram = Histogram()
    histogram.add([1e300, 0.0])
    assert histogram.total == 2
    assert len(histogram.counts) == 2
    with pytest.raises(ValueError, match="a bin is"):
        Histogram({1000: 1})


def test_a_tally_survives_the_wire() -> None:
    """What one process writes another reads, histograms and reasons included."""
    written = Tally(3, live=2, sent=50, echoed=49)
    written.failures["http_503"] += 2
    written.setup_ms.add([12.0])
    read = Tally.from_line(written.to_line())
    assert (read.second, read.live, read.sent, read.echoed) == (3, 2, 50, 49)
    assert read.failures == {"http_503": 2}
    assert read.setup_ms.counts == written.setup_ms.counts


@pytest.mark.parametrize("text", ["", "ready", "[]", "{}", '{"second": 1}'])
def test_a_line_that_is_no_tally(text: str) -> None:
    """Anything else raises ValueError and nothing else."""
    with pytest.raises(ValueError, match=r"line of a generator|Expecting"):
        Tally.from_line(text)


def test_seconds_add_up() -> None:
    """Counts are sums over seconds and processes; live calls are the most at once."""
    whole = total([Tally(0, live=3, sent=10), Tally(1, live=5, sent=20), Tally(2, live=1)])
    assert (whole.live, whole.sent) == (5, 30)


@given(st.integers(1, 8), st.floats(0, 30))
def test_processes_share_the_calls(processes: int, second: float) -> None:
    """Whatever the number of processes, their parts are all calls of the ramp, evenly."""
    ramp = (Point(at_s=1, calls=0), Point(at_s=11, calls=103), Point(at_s=20, calls=7))
    parts = [
        order(ramp=ramp, index=index, processes=processes).calls_at(second)
        for index in range(processes)
    ]
    assert sum(parts) == calls_at(ramp, second)
    assert max(parts) - min(parts) <= 1


def test_a_ramp_is_level_outside_its_points() -> None:
    """Before the first point and behind the last one the number stays."""
    ramp = (Point(at_s=2, calls=4), Point(at_s=4, calls=8))
    assert [calls_at(ramp, second) for second in (0, 2, 3, 4, 99)] == [4, 4, 6, 8, 8]


def test_an_index_beyond_the_processes() -> None:
    """An order for a process there is not is refused."""
    with pytest.raises(ValidationError, match="index is below processes"):
        order(index=2, processes=2)


def test_an_order_does_not_show_its_key() -> None:
    """The API key never gets into a log by way of repr."""
    assert "secret-key" not in repr(order(api_key="secret-key"))


def test_a_network_delays_and_loses() -> None:
    """Half of the packets are lost, and those that arrive are late by the delay and its jitter."""
    delays = one_way(Network(delay_ms=40, jitter_ms=20, loss=0.5), seed=3)
    seen = [delays() for _ in range(2000)]
    arrived = [delay for packet in seen for delay in packet]
    assert 900 < len(arrived) < 1100
    assert 0.040 <= min(arrived) < 0.042 < 0.058 < max(arrived) <= 0.060


def test_a_clean_network_does_nothing() -> None:
    """Without an impairment every packet arrives at once."""
    assert one_way(Network(), seed=1)() == (0.0,)


def test_later_runs_what_is_due_in_order_and_is_bounded() -> None:
    """Earlier things first, later things not yet, and beyond its bound nothing is kept."""
    later, done = Later(), []
    for due_s in (3.0, 1.0, 2.0):
        later.at(due_s, lambda due_s=due_s: done.append(due_s))  # type: ignore[misc]
    later.run(2.5)
    assert done == [1.0, 2.0]
    for _ in range(MAX_WAITING):
        later.at(9.0, list)  # type: ignore[arg-type]
    assert later.dropped == 1


def test_echoes_are_matched_timed_and_missed() -> None:
    """One frame of fifty is lost and one 15 ms late; the chunk says so once its grace is over."""
    ours, far = line(), Far()
    for frame in range(CHUNK_FRAMES):
        at_s = 100 + 0.02 * frame
        words = far.hears(ours.say(at_s, at_s))
        if frame != 7:
            ours.hear(far.says(words), at_s + 0.03 + (0.015 if frame == 9 else 0))
    assert list(ours.judged(101.5)) == []
    [chunk] = ours.judged(102.1)
    assert len(chunk.echoed_at_s) == CHUNK_FRAMES - 1
    assert chunk.lost_at_s.tolist() == [pytest.approx(100.14)]
    assert chunk.lateness_s.max() == pytest.approx(0.015)
    assert ours.take_gap() == pytest.approx(0.04)
    assert ours.take_gap() == 0


def test_what_is_not_an_echo_is_counted() -> None:
    """Words never said, a packet twice and one under another key are no echoes."""
    ours, far = line(), Far()
    words = far.hears(ours.say(100, 100))
    ours.hear(far.says(b"words never said"), 100.1)
    packet = far.says(words)
    ours.hear(packet, 100.1)
    ours.hear(packet, 100.2)
    ours.hear(bytes(60), 100.2)
    assert (ours.duplicates, ours.rejected) == (1, 2)


def test_a_call_that_ends_owes_no_echo() -> None:
    """Frames that were said just before the end are neither heard nor lost."""
    ours, far = line(), Far()
    words = far.hears(ours.say(100, 100))
    ours.say(100.02, 100.02)
    ours.hear(far.says(words), 100.03)
    [chunk] = ours.judged(100.05, over=True)
    assert (len(chunk.echoed_at_s), len(chunk.lost_at_s)) == (1, 0)


def test_how_long_a_backend_talks_on_after_an_interruption() -> None:
    """From the first frame of the caller's turn to the last of the answer it interrupts."""
    ours, far = line("barge_in", echoes=False), Far()
    loud = vocabulary().loud
    for frame in range(170):
        at_s = 100 + 0.02 * frame
        ours.say(at_s, at_s)
        if 60 <= frame < 156:  # the caller's second turn begins with frame 150
            ours.hear(far.says(loud[frame]), at_s)
    assert ours.take_barge_ins(103.15) == []
    assert ours.take_barge_ins(103.4) == [pytest.approx(0.1)]
    assert list(ours.judged(110)) == []
