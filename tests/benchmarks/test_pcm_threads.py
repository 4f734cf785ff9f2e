"""The benchmark behind libopus staying on the loop: its work is real, and a bad way is told."""

from __future__ import annotations

import ctypes

import pytest

from launcher import StartupError
from loadtest.media_bench.speech import speech
from loadtest.relay_bench.benchmark import Bounds
from loadtest.report import progress_bar
from tests.benchmarks import codec_work, pcm_threads
from tests.benchmarks.codec_work import Call, open_codec


@pytest.mark.parametrize("loader", [ctypes.PyDLL, ctypes.CDLL])
def test_a_frame_goes_through_srtp_and_libopus(loader: type[ctypes.CDLL]) -> None:
    """Ours is a packet of its own, longer than the Opus in it by header and tag."""
    call = Call(open_codec(loader), 0)
    for payload in speech()[50:60]:
        assert call.take_in(payload) == payload
        coded = call.code(payload)
        assert coded != payload
        assert len(call.give_out(coded)) == 12 + len(coded) + 16


@pytest.mark.parametrize("way", codec_work.WAYS)
def test_every_way_does_its_frames(way: str) -> None:
    """And ends with the threads and the switch interval it began with."""
    assert codec_work.WAYS[way](0.5) > 0


async def test_the_ways_are_compared_with_the_loop() -> None:
    """One ratio for each other way; the check says which carried most."""
    with progress_bar(1) as progress:
        result = await pcm_threads.run(Bounds(1, 1), progress)
    assert {"thread_ratio", "thread_2_ratio", "processes_2_ratio"} <= set(result.figures)
    assert len(result.checks) == 1


async def test_a_way_that_fails_is_told_in_a_line() -> None:
    """With the last thing that it said."""
    with pytest.raises(StartupError, match="pcm-threads: nowhere: KeyError: 'nowhere'"):
        await pcm_threads._measure("nowhere", "0", 0.1)
