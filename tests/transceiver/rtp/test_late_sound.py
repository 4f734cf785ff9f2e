"""Late sound of a live backend is on time again, and what a backend sends ahead is left alone."""

from __future__ import annotations

import itertools
import random
from functools import cache

import numpy as np
import pytest

from loadtest.clicks import CLICK, clicks, impulses
from loadtest.sound import SPEECH, in_frames, read_wav
from tests.transceiver.rtp.playing import FRAME_S, TICKS, Played, Stall, live, play
from transceiver.call.pcm_voice import is_quiet as is_quiet_pcm
from transceiver.opus import EncoderSettings, open_codec
from transceiver.rtp import opus
from transceiver.rtp.send import PacedSender

START_S = 5.01
BAR_S = 0.06
RATE_HZ = 48_000


@cache
def pcm() -> list[bytes]:
    """Real speech, five seconds of it, in frames."""
    return [frame.astype("<i2").tobytes() for frame in in_frames(read_wav(SPEECH))]


@cache
def packets() -> list[bytes]:
    encoder = open_codec().encoder(EncoderSettings(RATE_HZ, 32_000))
    return [encoder.encode(frame) for frame in pcm()]


def pcm_sender() -> PacedSender:
    """As for a backend that speaks PCM."""
    sender = PacedSender(1, 111, 0, 0)
    encoder = open_codec().encoder(EncoderSettings(RATE_HZ, 32_000))
    sender.encoded_by(encoder.encode, 5760, is_quiet_pcm)
    return sender


def play_as(kind: str, arrivals: list[tuple[float, int]]) -> Played:
    return play(arrivals, packets()) if kind == "opus" else play(arrivals, pcm(), pcm_sender())


def heard(played: Played) -> np.ndarray:
    decoder = open_codec().decoder(RATE_HZ)
    return np.concatenate([np.frombuffer(decoder.decode(p), "<i2") for p in played.packets])


@pytest.mark.parametrize("kind", ["opus", "pcm"])
@pytest.mark.parametrize("jitter_s", [0.0, 0.04])
@pytest.mark.parametrize("length_s", [0.1, 0.3, 0.7, 1.0, 3.0, 4.5])
def test_two_seconds_after_a_stall_a_live_source_is_on_time(
    kind: str, jitter_s: float, length_s: float
) -> None:
    """Whatever the stall held up: no more delay than before it, and it stays so."""
    stall = Stall(START_S, length_s)
    played = play_as(kind, live(stall.end_s + 6, [stall], jitter_s))
    before_s = max(played.delays_s(START_S - 1, START_S))
    assert max(played.delays_s(stall.end_s + 2)) <= before_s + BAR_S


@pytest.mark.parametrize("kept_s", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("length_s", [0.5, 1.0, 3.0])
def test_a_stall_that_lost_sound_is_caught_up_with_too(length_s: float, kept_s: float) -> None:
    """An echo of what a relay passed over comes back to a later line than before."""
    stall = Stall(START_S, length_s, kept_s)
    played = play(live(stall.end_s + 6, [stall]), packets())
    assert max(played.delays_s(stall.end_s + 2)) <= BAR_S


@pytest.mark.parametrize("every_s", [0.8, 1.5, 4.0])
@pytest.mark.parametrize("length_s", [0.25, 0.5, 0.7])
def test_pauses_do_not_add_up(length_s: float, every_s: float) -> None:
    """Ten in a row, and two seconds after the last there is nothing left of any."""
    stalls = [Stall(START_S + every_s * number, length_s) for number in range(10)]
    played = play(live(stalls[-1].end_s + 6, stalls), packets())
    assert max(played.delays_s(START_S)) < 2 * length_s + BAR_S
    assert max(played.delays_s(stalls[-1].end_s + 2)) <= BAR_S


def test_a_stall_before_the_caller_is_there() -> None:
    """Live sound that waited for the keys of a call is caught up with as well."""
    sender = PacedSender(1, 111, 0, 0)
    for index in range(150):
        sender.push(packets()[index % 250], TICKS, index * FRAME_S)
    assert len(sender) < 150, "what is late beyond its worth waits for nobody"


@pytest.mark.parametrize("kind", ["opus", "pcm"])
@pytest.mark.parametrize("length_s", [0.3, 0.7, 1.0, 3.0])
def test_nothing_clicks(kind: str, length_s: float) -> None:
    """Real speech, decoded: no edge stands out as a cut of the samples would."""
    stall = Stall(START_S, length_s)
    played = play_as(kind, live(stall.end_s + 6, [stall]))
    assert played.sender.left_out > 0
    sound = heard(played)
    assert clicks(sound) == 0, impulses(sound).max()


def test_a_cut_of_the_samples_would_click() -> None:
    """What the measure is worth: every fifth frame missing from the sound itself is heard."""
    whole = [np.frombuffer(frame, "<i2") for frame in pcm()]
    cut = np.concatenate([frame for index, frame in enumerate(whole) if index % 5])
    assert clicks(np.concatenate(whole)) == 0, impulses(np.concatenate(whole)).max()
    assert clicks(cut) >= 5
    assert impulses(cut).max() > 3 * CLICK


def test_numbers_and_times_go_on_as_if_nothing_were_missing() -> None:
    """Packets left out leave no hole: neither the sequence nor the time skips, and frames count."""
    stall = Stall(START_S, 1.0)
    played = play(live(15, [stall]), packets())
    steps = {b - a for a, b in itertools.pairwise(played.timestamps)}
    assert sorted(steps)[0] == TICKS
    assert len(steps) == 2, "the stall itself is the one pause"
    sender = played.sender
    assert sender.packets + sender.left_out == sender.frames == sender.used == 750
    assert sender.playout().sent == 750


def slow_start(seconds: float, late_s: float) -> list[tuple[float, int]]:
    """A live source whose first frames come all at once, so much after the first was spoken."""
    return [(max(late_s, index * FRAME_S), index) for index in range(int(seconds / FRAME_S))]


@pytest.mark.parametrize("late_s", [0.3, 0.6, 1.5])
def test_a_live_source_that_started_late_is_on_time_in_the_end(late_s: float) -> None:
    """It looks like one that sends ahead, so pauses make it good, and no word is lost."""
    played = play(slow_start(90, late_s), packets())
    left_out = set(range(4500)) - set(played.indexes)
    assert max(played.delays_s(80)) <= BAR_S
    assert left_out
    assert all(opus.is_quiet(packets()[index % len(packets())]) for index in left_out)


def test_a_source_that_started_late_is_live_after_that() -> None:
    """Once its queue has run empty, a stall is caught up with like any other's."""
    stall = Stall(80.01, 1.0)
    held = [(stall.end_s if 80.01 <= at_s < 81.01 else at_s, n) for at_s, n in slow_start(90, 0.6)]
    played = play(held, packets())
    assert max(played.delays_s(stall.end_s + 2)) <= BAR_S


# What a backend sends ahead.


def answers(length: int, pause_s: float, at_s: list[float]) -> list[tuple[float, int]]:
    """Six answers, each so many frames long; `at_s` is when each frame comes after the first."""
    arrivals = []
    for number in range(6):
        begins_s = number * (length * FRAME_S + pause_s)
        arrivals += [(begins_s + at_s[n], number * length + n) for n in range(length)]
    return arrivals


def at_rate(rate: float) -> list[float]:
    return [n * FRAME_S / rate for n in range(200)]


def ahead_by(lead: int) -> list[float]:
    return [max(0, n - lead) * FRAME_S for n in range(200)]


def in_chunks(frames: int, rate: float) -> list[float]:
    return [n // frames * frames * FRAME_S / rate for n in range(200)]


SENT_AHEAD = {
    "at one go": [0.0] * 200,
    **{f"at {rate} of real time": at_rate(rate) for rate in (1.05, 1.1, 1.2, 1.5, 3.0)},
    **{f"ahead by {lead} frames, then in real time": ahead_by(lead) for lead in (5, 10, 25, 50)},
    **{
        f"in chunks of {n} frames, rate {r}": in_chunks(n, r) for n in (5, 20, 50) for r in (1, 1.3)
    },
}


@pytest.mark.parametrize("pause_s", [0.1, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("way", SENT_AHEAD)
def test_what_is_sent_ahead_is_neither_cut_nor_hurried(way: str, pause_s: float) -> None:
    """Answers of a model, however it sends them: every frame leaves, none before its time."""
    played = play(answers(200, pause_s, SENT_AHEAD[way]), packets())
    assert (played.sender.left_out, played.sender.packets) == (0, 1200)


def test_a_backend_that_waits_for_credit_is_ahead() -> None:
    """250 frames at once, then 25 whenever as many have left: a steady queue that is meant."""
    lots = [(number * 0.5, 225 + 25 * number + n) for number in range(1, 40) for n in range(25)]
    played = play([*((0.0, n) for n in range(250)), *lots], packets())
    assert (played.sender.left_out, played.sender.packets) == (0, 1225)


@pytest.mark.parametrize("pause_s", [0.3, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("length", [10, 50, 150])
def test_an_answer_after_live_sound_is_whole(length: int, pause_s: float) -> None:
    """A source that was live may say something at one go: a pause is not a stall."""
    arrivals = live(6, [])
    at_s = 6 + pause_s
    arrivals += [(at_s, 300 + n) for n in range(length)]
    arrivals += [(at_s + length * FRAME_S + pause_s, 600 + n) for n in range(length)]
    played = play(arrivals, packets())
    assert (played.sender.left_out, played.sender.packets) == (0, 300 + 2 * length)


@pytest.mark.parametrize("stalls", [1, 10])
@pytest.mark.parametrize("length_s", [0.3, 1.0, 3.0])
def test_a_stall_takes_nothing_from_an_answer(length_s: float, stalls: int) -> None:
    """Frames sent ahead that a stall holds up all play, later."""
    held = [Stall(0.5 + number * (length_s + 0.4), length_s) for number in range(stalls)]
    arrivals = []
    for at_s, index in ((n * FRAME_S / 2, n) for n in range(600)):
        stall = next((one for one in held if one.at_s <= at_s < one.end_s), None)
        arrivals.append((at_s if stall is None else stall.end_s, index))
    sender = PacedSender(1, 111, 0, 0, max_queued=1000)
    played = play(arrivals, packets(), sender)
    assert (sender.left_out, sender.packets) == (0, 600)
    assert played.indexes == list(range(600))


def test_clear_forgets_that_the_source_was_live() -> None:
    """What is said after an interruption is something else."""
    sender = PacedSender(1, 111, 0, 0)
    play(live(6, []), packets(), sender)
    sender.clear()
    for n in range(200):
        assert sender.push(packets()[n], TICKS, 6.5 + max(0, n - 50) * FRAME_S)
    assert sender.left_out == 0


def test_any_arrivals_at_all_keep_the_order() -> None:
    """Hostile rhythms: frames leave in order, once each, and every one is accounted for."""
    for seed in range(30):
        chance = random.Random(seed)
        arrivals, at_s = [], 0.0
        for index in range(600):
            at_s += chance.choice([0.0, 0.0, 0.02, 0.02, 0.02, 0.021, 0.3, chance.random()])
            arrivals.append((at_s, index))
        sender = PacedSender(1, 111, 0, 0, max_queued=1000)
        played = play(arrivals, packets(), sender)
        assert played.indexes == sorted(set(played.indexes))
        assert sender.packets + sender.left_out == 600


def test_the_voice_detector_of_the_encoder_is_read() -> None:
    """Of real speech the pauses are quiet and the words are not; of other packets nothing is."""
    loud = [np.abs(np.frombuffer(frame, "<i2").astype(int)).max() for frame in pcm()]
    quiet = [opus.is_quiet(packet) for packet in packets()]
    assert 0.05 < sum(quiet) / len(quiet) < 0.4
    assert (
        max(peak for peak, is_quiet in zip(loud, quiet, strict=True) if is_quiet) < max(loud) / 10
    )
    assert opus.is_quiet(b"\xf8"), "DTX"
    assert not opus.is_quiet(b"\xf8\x00\x00"), "CELT says nothing"
    assert not opus.is_quiet(b"\x09\x00\x00"), "nor do two frames in one packet"
    assert [opus.is_quiet(bytes([13 << 3, top, 0])) for top in (0, 0x80)] == [True, False]
    assert [opus.is_quiet(bytes([3 << 3, top, 0])) for top in (0, 0x40, 0x20)] == [
        True,
        False,
        False,
    ]
