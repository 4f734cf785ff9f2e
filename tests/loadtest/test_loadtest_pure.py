from __future__ import annotations

import math
import mmap
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import sound
from loadtest.benchmark import Check, Result
from loadtest.callers.dtls import MTU_BYTES, in_datagrams
from loadtest.callers.opus_packets import encode
from loadtest.callers.sdp import read_answer, write_offer
from loadtest.compare import MAX_GAP_MS, compare
from loadtest.errors import CallFailedError
from loadtest.percentiles import percentile, spread
from loadtest.recording import Recording
from loadtest.residue import Usage, growth, usage_of
from loadtest.sound import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples


@pytest.fixture(scope="module")
def speech() -> Samples:
    return sound.read_wav(sound.SPEECH)


def delayed(samples: Samples, seconds: float) -> Samples:
    return np.concatenate([sound.silence(seconds), samples, sound.silence(0.5)])


def test_the_speech_is_small_and_short() -> None:
    """The asset that ships stays within 6 s and 600 kB."""
    assert len(sound.read_wav(sound.SPEECH)) <= 6 * SAMPLE_RATE_HZ
    assert sound.SPEECH.stat().st_size <= 600_000


def test_identical_sound(speech: Samples) -> None:
    """A sound is itself: full correlation, no delay, same level, no gap."""
    found = compare(speech, speech)
    assert found.correlation == pytest.approx(1)
    assert (found.delay_s, found.gap_ms, found.faults()) == (0, 0, [])
    assert found.level_db == pytest.approx(0, abs=1e-6)
    assert found.voiced_ms > 3000


def test_delayed_sound(speech: Samples) -> None:
    """A delay is found to the sample and is no fault."""
    found = compare(speech, delayed(speech, 0.7315))
    assert found.delay_s == pytest.approx(0.7315, abs=1 / SAMPLE_RATE_HZ)
    assert found.faults() == []


@pytest.mark.parametrize(("gain", "faults"), [(0.8, []), (0.5, ["level"]), (1.5, ["level"])])
def test_attenuated_sound(speech: Samples, gain: float, faults: list[str]) -> None:
    """A small change of level passes; half as loud does not, nor half as loud again."""
    found = compare(speech, (speech * gain).astype(np.int16))
    assert found.level_db == pytest.approx(20 * math.log10(gain), abs=0.05)
    assert found.faults() == faults


def with_holes(samples: Samples, count: int, offset: int) -> Samples:
    """Return the sound without `count` packets of 20 ms, in its loudest part."""
    holed = samples.copy()
    loudest = int(np.argmax(np.abs(samples)))
    for index in range(count):
        start = loudest + offset + index * 3 * FRAME_SAMPLES
        holed[start : start + FRAME_SAMPLES] = 0
    return holed


@pytest.mark.parametrize("offset", [0, 117, 480, 700])
def test_a_missing_packet_is_seen_however_it_lies(speech: Samples, offset: int) -> None:
    """A hole of 20 ms counts as 10 ms at least, and as no more than 20."""
    found = compare(speech, with_holes(speech, 1, offset))
    assert 10 <= found.gap_ms <= 20
    assert found.faults() == []


def test_a_longer_delay_in_the_middle_is_a_shift(speech: Samples) -> None:
    """20 ms of silence put in are a shift of 20 ms, and no fault; many of them are one."""
    half = len(speech) // 2
    once = np.concatenate([speech[:half], sound.silence(0.02), speech[half:]])
    found = compare(speech, once)
    assert found.shift_ms == pytest.approx(20, abs=0.1)
    assert found.faults() == []
    pieces = np.array_split(speech, 11)
    often = np.concatenate([np.concatenate([piece, sound.silence(0.02)]) for piece in pieces])
    assert "shifts" in compare(speech, often).faults()


def test_gapped_sound(speech: Samples) -> None:
    """Several missing packets are the fault `gaps`, though the correlation is still high."""
    found = compare(speech, with_holes(speech, 12, 0))
    assert found.gap_ms > MAX_GAP_MS
    assert found.correlation > 0.8
    assert found.faults() == ["gaps"]


@pytest.mark.parametrize("length_s", [0, 3, 10])
def test_silence(speech: Samples, length_s: float) -> None:
    """Nothing at all, and silence of any length, is the fault `silence`."""
    assert compare(speech, sound.silence(length_s)).faults() == ["silence"]


def test_other_sound(speech: Samples) -> None:
    """Noise, a tone, and the same speech backwards are other sounds."""
    noise = np.random.default_rng(1).normal(0, 3000, len(speech)).astype(np.int16)
    for other in (noise, sound.tone(5, 300, 8000), speech[::-1].copy()):
        assert compare(speech, other).faults() == ["other_sound"]


def test_a_cut_off_start_still_aligns(speech: Samples) -> None:
    """Speech whose beginning is missing is found before the start of the recording."""
    found = compare(speech, speech[SAMPLE_RATE_HZ // 2 :])
    assert found.delay_s == pytest.approx(-0.5, abs=1 / SAMPLE_RATE_HZ)
    assert found.gap_ms > MAX_GAP_MS


def test_silence_has_no_place() -> None:
    """To look for silence is a mistake of the caller."""
    with pytest.raises(ValueError, match="silence"):
        compare(sound.silence(1), sound.silence(1))


def test_one_opus_pass_is_the_same_sound(speech: Samples) -> None:
    """What a codec at speech rate changes is within all bounds."""
    import av

    decoder = av.AudioCodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout, decoder.format = SAMPLE_RATE_HZ, "mono", "s16"
    frames = [frame for data in encode(speech) for frame in decoder.decode(av.Packet(data))]
    heard = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
    assert compare(speech, heard).faults() == []


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0, 100))
def test_a_percentile_is_a_value_that_happened(values: list[float], percent: float) -> None:
    """Nearest rank: it is one of the values and at least `percent` % are not above it."""
    got = percentile(values, percent)
    assert got in values
    assert sum(value <= got for value in values) >= percent / 100 * len(values) - 1e-6


def test_spread_of_a_hundred() -> None:
    """The 99th of a hundred values is the last but one."""
    assert spread([float(n) for n in range(100, 0, -1)]) == {"p50": 50, "p99": 99, "max": 100}
    assert spread([]) is None


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 101), ([1.0], -1)])
def test_percentiles_of_nothing(values: list[float], percent: float) -> None:
    """No values, or no percentage, raises ValueError."""
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, percent)


def test_a_hole_in_time_stamps_stays_a_hole() -> None:
    """A frame that never came is silence in the recording, also where time stamps wrap."""
    recording = Recording(max_s=1)
    start = (1 << 32) - FRAME_SAMPLES
    for index in (0, 2):
        ones = np.ones(FRAME_SAMPLES, dtype=np.int16)
        recording.add((start + index * FRAME_SAMPLES) % (1 << 32), ones)
    blocks = recording.sound().reshape(3, FRAME_SAMPLES)
    assert blocks.any(axis=1).tolist() == [True, False, True]


def test_a_recording_is_bounded() -> None:
    """Frames past the end are not kept, whatever their time stamp says."""
    recording = Recording(max_s=0.1)
    for index in (0, 1, 4, 5, 1000, 1 << 31):
        recording.add(index * FRAME_SAMPLES % (1 << 32), np.ones(FRAME_SAMPLES, dtype=np.int16))
    assert recording.length_samples == 5 * FRAME_SAMPLES


def test_frames_are_whole() -> None:
    """The last frame is filled with silence."""
    frames = sound.in_frames(np.ones(FRAME_SAMPLES + 1, dtype=np.int16))
    assert [len(frame) for frame in frames] == [FRAME_SAMPLES, FRAME_SAMPLES]
    assert int(frames[1].sum()) == 1


def test_an_answer_is_read() -> None:
    """Credentials, fingerprint, role and the first candidate come out of an answer."""
    lines = (
        write_offer("user", "secret", "AB:CD", 7) + "a=candidate:1 1 udp 5 192.0.2.7 3478 typ host"
    )
    remote = read_answer(lines)
    assert (remote.ufrag, remote.password, remote.fingerprint) == ("user", "secret", "AB:CD")
    assert (remote.setup, remote.host, remote.port) == ("actpass", "192.0.2.7", 3478)


@pytest.mark.parametrize("answer", ["", "a=candidate:1 1 udp", "a=candidate:1 1 udp 5 h port typ"])
def test_a_bad_answer_fails_the_call(answer: str) -> None:
    """An answer without what a call needs is the failure `bad_answer`."""
    with pytest.raises(CallFailedError, match="bad_answer"):
        read_answer(answer)


@given(st.lists(st.integers(0, 900), max_size=12))
def test_flights_are_cut_between_records(sizes: list[int]) -> None:
    """Datagrams join up to the flight again, none is over the MTU, none cuts a record."""
    records = [b"\x16\xfe\xfd" + bytes(8) + size.to_bytes(2) + bytes(size) for size in sizes]
    datagrams = in_datagrams(b"".join(records))
    assert b"".join(datagrams) == b"".join(records)
    assert all(0 < len(datagram) <= MTU_BYTES for datagram in datagrams)
    assert all(datagram[:3] == b"\x16\xfe\xfd" for datagram in datagrams)


def test_usage_counts_this_process() -> None:
    """A live process has descriptors, threads and memory; growth is in MiB by part."""
    here = usage_of(os.getpid())
    assert here.fds > 0
    assert here.threads > 0
    more = Usage(here.fds, here.threads, here.memory_bytes + (1 << 20))
    assert growth({"part": here, "gone": here}, {"part": more}) == {"part": 1.0}


def test_memory_is_what_was_written(tmp_path: Path) -> None:
    """What a process writes counts; the pages of a file that it only reads do not."""
    size = 16 << 20
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    before = usage_of(os.getpid()).memory_bytes
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        assert sum(pages[:: mmap.PAGESIZE]) > 0
        assert usage_of(os.getpid()).memory_bytes - before < size / 2
    # Not a bytearray: that may get memory which the file's bytes had a moment ago.
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as written:
        written.write(os.urandom(size))
        assert usage_of(os.getpid()).memory_bytes - before > size / 2


def test_a_result_without_checks_has_not_passed() -> None:
    """Nothing checked is nothing shown; one failed check fails the run."""
    assert not Result().passed
    good, bad = Check("good", True, ""), Check("bad", False, "")
    assert Result(checks=[good]).passed
    assert not Result(checks=[good, bad]).passed


def test_json_holds_figures_failures_and_checks() -> None:
    """The object names the scenario, its figures, failures by reason and each check."""
    result = Result({"calls": 2}, Counter(level=1), [Check("every call ok", False, "1 of 2")])
    assert result.as_json("call") == {
        "scenario": "call",
        "passed": False,
        "calls": 2,
        "failures": {"level": 1},
        "checks": {"every call ok": False},
    }
