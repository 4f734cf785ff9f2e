from __future__ import annotations

from itertools import pairwise
from typing import cast
from unittest.mock import AsyncMock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pylibsrtp import Policy, Session

from loadtest.callers.voice import Voice
from loadtest.media_bench.cpu import Busy
from loadtest.media_bench.crowd import Crowd
from loadtest.media_bench.generator import SLOTS, impaired
from loadtest.media_bench.impairment import Impairment, Network
from loadtest.media_bench.lateness import Measured, lateness_s
from loadtest.media_bench.limits import Capacity, Climb
from loadtest.media_bench.quality import intelligibility
from loadtest.media_bench.search import CapacitySearch
from loadtest.media_bench.trial import Trial
from loadtest.report import progress_bar

KEY = bytes(range(30))


def voice() -> Voice:
    return Voice(
        Session(Policy(key=KEY, ssrc_type=Policy.SSRC_ANY_OUTBOUND)),
        Session(Policy(key=KEY, ssrc_type=Policy.SSRC_ANY_INBOUND)),
        ssrc=7,
    )


def grid(frames: int) -> np.ndarray:
    return np.arange(frames) * 0.02


def test_a_steady_delay_is_no_lateness() -> None:
    """Echoes that all take equally long are on time, however long that is."""
    assert lateness_s(grid(50), grid(50), grid(50) + 0.3) == pytest.approx(0, abs=1e-9)


def test_one_held_up_frame_is_late_by_that_much() -> None:
    """A frame that came 15 ms behind its grid is 15 ms late, its neighbours are not."""
    seen = grid(50) + 0.01
    seen[20] += 0.015
    late = lateness_s(grid(50), grid(50), seen)
    assert late[20] == pytest.approx(0.015)
    assert np.delete(late, 20) == pytest.approx(0, abs=1e-9)


def test_a_late_generator_is_not_the_engine() -> None:
    """A frame that was sent late and echoed as fast as the others is on time."""
    sent = grid(50)
    sent[30] += 0.008
    late = lateness_s(grid(50), sent, sent + 0.004)
    assert late == pytest.approx(0, abs=1e-9)


def test_no_echo_is_infinitely_late() -> None:
    """A measurement in which nothing came back never passes a bar."""
    measured = Measured()
    measured.add(np.zeros(0), np.zeros(0), np.zeros(0))
    assert measured.lateness_ms(99) == float("inf")
    assert measured.frames == 0


@given(st.integers(1, 2000), st.integers(1, 300), st.integers(1, 3000))
def test_the_search_finds_the_limit(limit: int, first: int, most: int) -> None:
    """Whatever the true limit is, the answer holds and is within 5 % or one of it."""
    search = CapacitySearch(first, most)
    trials = 0
    while (load := search.next()) is not None:
        trials += 1
        assert 1 <= load <= most
        search.note(load, held=load <= limit)
    true = min(limit, most)
    assert search.best <= true <= search.best + max(2.0, 1.06 + 0.06 * true)
    assert trials <= 60


def test_the_search_ends_when_nothing_holds() -> None:
    """A server that holds nobody gives 0, not a loop without end."""
    search = CapacitySearch(8, 100)
    loads = []
    while (load := search.next()) is not None:
        loads.append(load)
        search.note(load, held=False)
    assert search.best == 0
    assert loads[-1] == 1


def test_one_bad_moment_does_not_count() -> None:
    """A load that fails once and then holds is held."""
    search = CapacitySearch(10, 10)
    assert search.next() == 10
    search.note(10, held=False)
    assert search.next() == 10
    search.note(10, held=True)
    assert (search.next(), search.best, search.capped) == (None, 10, True)


class SlowCrowd:
    """Callers that all hold; a trial takes ten seconds of a clock that only they move."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.tried: list[int] = []

    async def grow_to(self, count: int) -> None:
        self.tried.append(count)

    async def measure(self, callers: int, _seconds: float) -> Trial:
        self.now_s += 10.0
        return Trial(callers, 2.0, trial(0).measured, Busy({"engine": 1.0}), 0.1)

    async def shrink_to(self, _count: int) -> None:
        pass


async def test_a_climb_ends_in_time() -> None:
    """The trial that would end too late is not begun, and the best until then is the answer."""
    crowd = SlowCrowd()
    with progress_bar(1) as progress:
        climb = Climb(
            cast(Crowd[bytes], crowd),
            *(1.0, progress, "slow", "engine"),
            within_s=35.0,
            clock=lambda: crowd.now_s,
        )
        capacity = await climb.run(CapacitySearch(10, 1000))
    assert crowd.tried == [10, 15, 22]
    assert (capacity.sessions, capacity.failed) == (22, None)


async def test_a_trial_that_others_spoilt_is_run_again() -> None:
    """A failure while strangers had the machine does not count, three times a search."""
    crowd = SlowCrowd()
    late = trial(11)
    spoilt = Trial(10, 2.0, late.measured, Busy({"engine": 1.0}, cores_s=3.0), 0.1)
    crowd.measure = AsyncMock(side_effect=[spoilt, spoilt, spoilt, trial(0)])  # type: ignore[method-assign]
    with progress_bar(1) as progress:
        climb = Climb(cast(Crowd[bytes], crowd), 1.0, progress, "spoilt", "engine")
        capacity = await climb.run(CapacitySearch(10, 10))
    assert crowd.tried == [10] * 4
    assert (capacity.sessions, capacity.failed) == (10, None)


def test_what_held_has_not_failed() -> None:
    """A load that failed once and held then leaves no failure behind."""
    capacity = Capacity()
    capacity.note(trial(11))
    assert capacity.failed is not None
    capacity.note(trial(0))
    assert (capacity.failed, capacity.sessions) == (None, 10)


def test_a_voice_counts_echoes_across_the_wrap() -> None:
    """Echoes are numbered from the first one heard, over the wrap and out of order."""
    heard = voice()
    numbers = [
        heard.number(bytes([0x80, 111]) + sequence.to_bytes(2))
        for sequence in (65534, 65535, 1, 0, 2)
    ]
    assert numbers == [0, 1, 3, 2, 4]


def test_a_voice_opens_what_it_protected() -> None:
    """The payload that went in comes out, once; a changed packet does not."""
    speaker = voice()
    [first, second] = speaker.say([b"one", b"two"])
    assert speaker.open(first) == b"one"
    assert speaker.open(first) is None
    assert speaker.open(second[:-1] + bytes([second[-1] ^ 1])) is None
    assert speaker.sent == 2


def trial(late_ms: float, *, engine_s: float = 1.0, callers_s: float = 0.5) -> Trial:
    measured = Measured()
    seen = grid(100) + 0.001
    seen[90:] += late_ms / 1000
    measured.add(grid(100), grid(100), seen)
    return Trial(10, 2.0, measured, Busy({"engine": engine_s, "callers": callers_s}), 0.1)


def test_a_trial_holds_by_lateness_and_loss() -> None:
    """Ten ms at p99 is the bar; one lost frame fails, and so does a forged echo."""
    assert trial(9).held
    assert not trial(11).held
    lossy, forged = trial(0), trial(0)
    lossy.measured.lost = 1
    forged.measured.foreign = 1
    assert not lossy.held
    assert not forged.held


def test_a_trial_says_what_was_full() -> None:
    """The limit is the engine when its core was full, the callers when theirs was."""
    assert trial(0, engine_s=1.9).limit("engine") == "engine"
    assert trial(0, callers_s=1.9).limit("engine") == "callers and backend"
    assert trial(0).limit("engine") == "neither core"
    assert trial(0).cpu_ms_per_session_s("engine") == 50.0


def delays(impairment: Impairment, packets: int = 20_000) -> list[tuple[float, ...]]:
    network = Network(impairment, seed=1)
    return [network.delays_s(number) for number in range(packets)]


@pytest.mark.parametrize("burst", [1, 3])
def test_the_share_of_lost_packets(burst: float) -> None:
    """As much is lost as asked for, one by one or in bursts of the length asked for."""
    lost = [not found for found in delays(Impairment("x", loss=0.1, burst=burst))]
    runs = sum(now and not before for before, now in pairwise([False, *lost]))
    assert sum(lost) / len(lost) == pytest.approx(0.1, abs=0.015)
    assert sum(lost) / runs == pytest.approx(burst if burst > 1 else 1 / 0.9, rel=0.1)


def test_a_clean_network_does_nothing() -> None:
    """Without an impairment every packet arrives once, when it was sent."""
    assert set(delays(Impairment("clean"), 1000)) == {(0.0,)}


def test_jitter_reordering_and_duplicates() -> None:
    """Delays stay within their bounds, and the asked share comes twice or behind."""
    jitter = [delay for (delay,) in delays(Impairment("x", jitter_s=0.03))]
    assert 0 <= min(jitter) < 0.001
    assert 0.029 < max(jitter) <= 0.03
    twice = [found for found in delays(Impairment("x", duplicate=0.05)) if len(found) == 2]
    assert len(twice) == pytest.approx(1000, rel=0.15)
    behind = [found for found in delays(Impairment("x", reorder=0.05)) if found[0] > 0.02]
    assert len(behind) == pytest.approx(1000, rel=0.15)


def test_one_packet_by_number() -> None:
    """The one that was named is lost, and no other."""
    found = delays(Impairment("x", drops=frozenset({3})), 10)
    assert [number for number, arrivals in enumerate(found) if not arrivals] == [3]


def test_a_schedule_out_of_a_network() -> None:
    """Lost frames are gone, delayed ones move by their slots, checks pass untouched."""
    check, media = b"\x00check", b"\x80media"
    schedule = [[[("a", media), ("a", check)]] + [[] for _ in range(SLOTS - 1)] for _ in range(2)]
    network = Network(Impairment("x", drops=frozenset({0}), reorder=1.0), seed=1)
    flat = [frames for slots in impaired(schedule, {"a": network}) for frames in slots]
    assert {at: frames for at, frames in enumerate(flat) if frames} == {
        0: [("a", check)],
        SLOTS: [("a", check)],
        SLOTS + 30: [("a", media)],
    }


def test_intelligibility_aligns_before_it_scores() -> None:
    """Sound that comes 10 ms late scores as if it had not; silence scores nothing."""

    def share_alike(spoken: np.ndarray, heard: np.ndarray, _rate_hz: int) -> float:
        return float((spoken == heard).mean())

    spoken = np.random.default_rng(1).integers(-9000, 9000, 48_000).astype(np.int16)
    late = np.concatenate([np.zeros(480, np.int16), spoken])
    assert intelligibility(share_alike, spoken, late) == 1.0
    assert intelligibility(share_alike, spoken, np.zeros(48_000, np.int16)) == 0.0
    assert intelligibility(share_alike, spoken, np.zeros(0, np.int16)) == 0.0


def test_what_strangers_took() -> None:
    """CPU that no part of a measurement used was somebody else's, and is told in percent."""
    before = Busy({"engine": 5.0, "callers": 1.0}, {"engine": 0.5}, cores_s=100.0)
    after = Busy({"engine": 6.5, "callers": 1.5}, {"engine": 0.75}, cores_s=102.5)
    used = before.until(after)
    assert (used.used_s, used.waited_s) == ({"engine": 1.5, "callers": 0.5}, {"engine": 0.25})
    assert used.strangers_s == pytest.approx(0.5)
    assert Trial(10, 2.0, Measured(), used, 0.0).strangers == 25.0
