from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import pytest

from launcher import Stack, StackSettings
from loadtest.benchmark import Limits, Progress, Result
from loadtest.media_bench.beside import HELD, aiortc_beside
from loadtest.media_bench.cpu import Busy
from loadtest.media_bench.crowd import Crowd
from loadtest.media_bench.generator import SLOTS, play
from loadtest.media_bench.guard import guarded
from loadtest.media_bench.impairment import Impairment, Network
from loadtest.media_bench.links import TrunkLink, UdpLink
from loadtest.media_bench.recorder import recorder
from loadtest.media_bench.speech import short_speech, speech, speech_with_fec
from loadtest.media_bench.stack import QUIET, trunk_link
from loadtest.report import progress_bar
from loadtest.target import Target
from wire import trunk
from wire.keys import KeyRing

KEYS = KeyRing(1, {1: bytes(32)})


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    async with Stack(StackSettings(QUIET)) as started:
        yield started


async def test_callers_speak_the_trunk(stack: Stack) -> None:
    """Calls without a relay: every frame comes back authentic, none is lost, and CPU is counted."""
    link = await trunk_link(stack)
    try:
        async with aiohttp.ClientSession() as session:
            target = Target(stack.console_url, stack.api_key, stack)
            crowd = Crowd(session, target, link, speech(), lambda: Busy.of(stack))
            await crowd.grow_to(3)
            trial = await crowd.measure(2, 0.5)
            assert (trial.measured.lost, trial.measured.foreign) == (0, 0)
            assert trial.measured.frames == 2 * 25
            assert trial.busy.used_s["transceiver"] > 0
            await crowd.shrink_to(0)
            assert crowd.lines == []
    finally:
        link.close()


async def test_callers_speak_through_the_relay(stack: Stack) -> None:
    """Calls with a socket each, in packets of 10 ms: the same holds, and hanging up closes them."""
    link = UdpLink()
    try:
        async with aiohttp.ClientSession() as session:
            crowd = Crowd(session, Target(stack.console_url, stack.api_key), link, short_speech())
            await crowd.grow_to(2)
            trial = await crowd.measure(2, 0.5)
            assert (trial.measured.lost, trial.measured.foreign) == (0, 0)
            await crowd.shrink_to(0)
            assert link.sockets() == []
    finally:
        link.close()


@pytest.mark.parametrize("audio_format", ["pcm16_48000", "pcm16_16000"])
async def test_stock_aiortc_does_the_same_work(audio_format: str) -> None:
    """The peer to measure beside echoes by the same backend, with nothing lost."""
    link = UdpLink()
    try:
        async with aiortc_beside(audio_format) as target, aiohttp.ClientSession() as session:
            crowd = Crowd(session, target, link, speech(), held=HELD)
            await crowd.grow_to(1)
            trial = await crowd.measure(1, 1.0)
            assert (trial.measured.lost, trial.measured.foreign) == (0, 0)
            assert trial.measured.frames >= 50 - HELD
            await crowd.shrink_to(0)
    finally:
        link.close()


def test_the_generator_keeps_its_grid() -> None:
    """Frames leave in their slots, never early, and what the other side sends is kept."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
        node.bind(("127.0.0.1", 0))
        node.settimeout(5)
        link = TrunkLink(KEYS, node.getsockname())
        address = link.open(None)  # type: ignore[arg-type]  # a trunk needs no answer
        schedule = [[[(address, b"\x80frame")] if slot == 3 else [] for slot in range(SLOTS)]] * 2
        traffic = play(link, schedule, drain_s=0.0)
        link.close()
        assert (traffic.sent_s >= traffic.scheduled_s).all()
        read = [trunk.read(trunk.Tagger(KEYS), node.recv(2048)) for _ in range(2)]
    assert [datagram.frames for datagram in read] == [((address, b"\x80frame"),)] * 2
    assert read[1].count == (read[0].count + 1) & 0xFFFF_FFFF


def test_a_forged_datagram_is_left_out() -> None:
    """What does not carry the trunk's tag never counts as an echo."""
    link = TrunkLink(KEYS, ("127.0.0.1", 9))
    good = trunk.pack(trunk.Tagger(KEYS), 1, 0, 1, [(bytes(18), b"echo")])
    forged = good[:4] + bytes(8) + good[12:]
    records = [(1.5, b"", forged), (2.5, b"", good)]
    assert list(link.packets(records)) == [(2.5, bytes(18), b"echo")]
    link.close()


async def test_a_listening_backend() -> None:
    """What a caller says through a clean network is heard whole, in RTP time."""
    async with recorder() as listening:
        backend = {"TRUNKLINE_TRANSCEIVER_BACKEND": f"127.0.0.1:{listening.port}"}
        async with Stack(StackSettings({**QUIET, **backend})) as stack:
            link = await trunk_link(stack)
            async with aiohttp.ClientSession() as session:
                target = Target(stack.console_url, stack.api_key, stack)
                crowd = Crowd(session, target, link, speech_with_fec())
                await crowd.grow_to(1)
                await crowd.speak(1.0, [Network(Impairment("clean"), seed=1)])
                await crowd.shrink_to(0)
            link.close()
    [heard] = listening.calls.values()
    # More may follow: what stands in for frames that the caller, who is done, no longer sends.
    assert sorted(heard.arrived_s)[:50] == [960 * frame for frame in range(50)]
    assert heard.recording.length_samples >= 50 * 960
    assert np.abs(heard.recording.sound()).max() > 1000


async def test_a_call_that_is_refused(stack: Stack) -> None:
    """A wrong key ends a crowd with its one reason, and a scenario with a check that failed."""
    link = UdpLink()
    target = Target(stack.console_url, "wrong", stack)

    async def run(target: Target, _limits: Limits, _progress: Progress) -> Result:
        async with aiohttp.ClientSession() as session:
            await Crowd(session, target, link, speech()).grow_to(3)
        return Result()

    with progress_bar(1) as progress:
        result = await guarded(run)(target, Limits(1, 1, 1.0), progress)
    assert not result.passed
    assert result.failures == {"http_401": 1}
    assert link.sockets() == []
