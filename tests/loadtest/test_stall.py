"""`loadtest stall`: its measure on recordings that are made up, and one stop of real processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from loadtest.clicks import CLICK, clicks, impulses
from loadtest.sound import silence
from loadtest.stall import command, speech
from loadtest.stall.backends import RECITE, TALK, asks
from loadtest.stall.listener import Listener
from loadtest.stall.measure import Heard, Recording
from loadtest.stall.stops import RELAY, TRANSCEIVER, Stop, Stopped, all_stops
from loadtest.stall.verdict import BAR_MS, judge

START_S = 1_700_000_000.0
STOPPED = Stopped(Stop("relay", 1.0), START_S + 4, START_S + 5)


def heard(delay_s: Callable[[float], float], seconds: float = 10.0) -> Heard:
    """A call whose packets come as much later as that says, by when they were said."""
    first = speech.frame_at(START_S)
    frames = range(first, first + int(seconds / speech.FRAME_S))
    return [
        (speech.due_s(n) + delay_s(speech.due_s(n) - START_S), n - first, packet_of(n))
        for n in frames
    ]


def packet_of(number: int) -> bytes:
    return speech.packets()[number % speech.FRAMES]


def listener(manner: str, recording: Heard, call_id: str = "rtc_1") -> Listener:
    return Listener("opus", manner, call_id, list(recording))


@pytest.mark.parametrize("delay_s", [0.01, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("at_s", [0.5, 2.2, 4.9])
def test_a_delay_is_known_from_what_is_heard(delay_s: float, at_s: float) -> None:
    """Wherever in the speech the window falls, to within what the codec adds."""
    recording = Recording(heard(lambda _: delay_s))
    found_s = recording.delay_s(START_S + at_s + delay_s)
    assert found_s == pytest.approx(delay_s, abs=0.015)


def test_what_is_no_speech_of_ours_has_no_delay() -> None:
    """Silence, and nothing at all."""
    from loadtest.callers.opus_packets import encode

    quiet = encode(silence(4.0))
    recording = Recording([(START_S + n * 0.02, n, packet) for n, packet in enumerate(quiet)])
    assert recording.delay_s(START_S + 1) is None
    assert Recording([]).delay_s(START_S) is None
    assert (Recording([]).sent, len(Recording([]).sound)) == (0, 0)


def test_a_call_that_stays_late_fails() -> None:
    """What a stop has left behind two seconds after it is the figure, in the worst call."""
    late = heard(lambda at_s: 0.02 if at_s < 4 else 0.3)
    result = judge([listener(TALK, late), listener(TALK, heard(lambda _: 0.02))], [STOPPED], {})
    assert result.figures["max_delay_after_ms"] == pytest.approx(280, abs=1)
    assert not result.passed


def test_a_call_that_caught_up_passes() -> None:
    """Late for two seconds is allowed; so is delay that was there before."""
    for before_s in (0.0, 0.5):
        late = heard(lambda at_s, b=before_s: b + (0.3 if 4 <= at_s < 6 else 0.01))  # type: ignore[misc]
        recited = listener(RECITE, heard(lambda _: 0.0, 1.0), "rtc_2")
        result = judge([listener(TALK, late), recited], [STOPPED], {"rtc_2": 50})
        assert result.figures["max_delay_after_ms"] == pytest.approx(0, abs=1)
        assert result.passed, result.checks
        assert BAR_MS == 60


def test_sound_sent_ahead_that_was_left_out_is_found() -> None:
    """Frames that were said and never sent; those that a network lost are told apart."""
    came = [record for record in heard(lambda _: 0.0, 2.0) if record[1] % 10]
    result = judge([listener(RECITE, came, "rtc_9")], [STOPPED], {"rtc_9": 110})
    assert result.figures["ahead_left_out"] == 11
    assert result.figures["ahead_lost_on_the_way"] == 9
    assert not result.passed


def test_a_click_is_heard_and_speech_is_none() -> None:
    """A wave that jumps once in ten seconds of speech; the seam of the loop does not."""
    sound = np.concatenate([speech.loop(), speech.loop()])
    assert clicks(sound) == 0, impulses(sound).max()
    sound = sound.copy()
    loudest = int(np.abs(sound).argmax())
    sound[loudest:] = -sound[loudest:]
    assert impulses(sound).max() > CLICK
    assert clicks(sound) >= 1


def test_the_programme_stops_both_for_all_lengths() -> None:
    """0.3, 1 and 3 s, and ten in a row, of either process; a backend is asked by name."""
    stops = list(all_stops())
    assert {stop.part for stop in stops} == {RELAY, TRANSCEIVER}
    for part in (RELAY, TRANSCEIVER):
        mine = [stop for stop in stops if stop.part == part]
        assert [stop.length_s for stop in mine if stop.times == 1] == [0.3, 1.0, 3.0]
        assert [stop.times for stop in mine if stop.times > 1] == [10]
    assert len({stop.name for stop in stops}) == len(stops)
    asked = json.loads(asks("pcm", "talk"))
    assert asked["trunkline"] == {"backend": "pcm"}


def test_the_loop_is_seamless_in_both_forms() -> None:
    """As many frames either way, and no packet is like its neighbour."""
    assert len(speech.packets()) == len(speech.pcm()) == speech.FRAMES
    assert all(one != other for one, other in pairwise(speech.packets()))


@pytest.mark.slow
def test_one_stop_of_a_transceiver() -> None:
    """The real thing, short: callers, backends and a process that stands still for a second."""
    result = asyncio.run(command.run(1, [Stop(TRANSCEIVER, 1.0)]))
    assert result.figures["ahead_left_out"] == 0
    assert result.figures["not_recognised"] == 0
    assert result.figures["clicks"] == 0
