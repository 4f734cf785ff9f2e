"""Calls whose backend wants PCM, from the caller's SRTP to the model link and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.transceiver.call.test_session import World
from tests.transceiver.caller import OUR_CERTIFICATE, FakeLink, make_offer
from tests.transceiver.engine.test_engine import (
    LOOPBACK,
    ROUTE,
    TOKEN_KEYS,
    TRUNK_KEYS,
    Relay,
    connect,
    converse,
)
from tests.transceiver.opus.test_opus_codec import direct, level, tone
from transceiver.call.offer import OpusWishes
from transceiver.call.pcm_voice import RATES_HZ
from transceiver.call.voice import CREDIT_LOT
from transceiver.engine.engine import Engine
from transceiver.link.errors import BackendAbsent
from transceiver.opus.codec import samples
from transceiver.opus.settings import EncoderSettings
from transceiver.rtp import opus
from trunkline.v1 import model_pb2
from wire.rtcp import ReceiverReport, ReportBlock

PCM16 = model_pb2.AUDIO_FORMAT_PCM16_16000


def speech(frames: int, rate_hz: int = 48_000) -> list[bytes]:
    """Opus packets of a tone."""
    encoder = direct().encoder(EncoderSettings(rate_hz, 32_000))
    return [encoder.encode(tone(rate_hz, start=n * rate_hz // 50)) for n in range(frames)]


@pytest.fixture
async def make_world() -> AsyncIterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(**options: object) -> World:
        options.setdefault("accepts", (PCM16,))
        worlds.append(World(**options))  # type: ignore[arg-type]
        return worlds[-1]

    yield make
    for world in worlds:
        await world.finish()


@pytest.mark.parametrize("audio_format", list(RATES_HZ))
async def test_sound_goes_round_as_pcm(make_world: Callable[..., World], audio_format: int) -> None:
    """The backend hears 20 ms frames of its rate and level, and the caller hears them as Opus."""
    world = await make_world(accepts=(audio_format,)).connect()
    for packet in speech(20):
        world.caller.say(packet)
        await world.settle()
        await world.advance(0.02)
    rate_hz = RATES_HZ[audio_format]
    heard = [entry for entry in world.handle.audio if level(entry[0]) > 100][:20]
    assert {(len(pcm), duration) for pcm, _, duration, _ in heard} == {
        (2 * samples(960, rate_hz), 960)
    }
    assert level(b"".join(entry[0] for entry in heard[5:15])) == pytest.approx(5657, rel=0.2)
    times = [entry[1] for entry in heard]
    assert [(b - a) & 0xFFFF_FFFF for a, b in pairwise(times)] == [960] * 19
    await world.advance(0.1)
    assert len(world.caller.heard) >= 20
    decoder = direct().decoder(16_000)
    answer = b"".join(decoder.decode(packet.payload) for packet in world.caller.heard[:20])
    assert level(answer[10 * 640 :]) == pytest.approx(5657, rel=0.3)
    assert {opus.duration(packet.payload) for packet in world.caller.heard} == {960}


async def test_a_lost_packet_is_filled_and_told(make_world: Callable[..., World]) -> None:
    """Two losses leave no gap in the times, and the frame after them says so."""
    world = await make_world(echo=False).connect()
    packets = speech(20)
    for index, packet in enumerate(packets):
        if index in (10, 11):
            await world.advance(0.02)
            continue
        world.caller.say(packet, skip=2 if index == 12 else 0)
        await world.settle()
        await world.advance(0.02)
    audio = world.handle.audio[:20]
    assert [entry[3] for entry in audio] == [0] * 12 + [2] + [0] * 7
    first = audio[0][1]
    assert [(entry[1] - first & 0xFFFF_FFFF) // 960 for entry in audio] == list(range(20))
    assert level(audio[10][0]) > 500  # concealed, not cut out


async def test_frames_of_a_length_opus_does_not_have_are_refused(
    make_world: Callable[..., World],
) -> None:
    """They are counted, their credit comes back, and the good ones around them play."""
    world = await make_world(echo=False).connect()
    bad = CREDIT_LOT
    for _ in range(bad):
        world.session.on_audio(bytes(642), 960)
    world.session.on_audio(bytes(640), 77)  # its length is what its samples say
    await world.settle()
    await world.advance(0.1)
    assert world.counters["audio_refused"] == bad
    assert world.handle.credit >= bad
    assert [opus.duration(packet.payload) for packet in world.caller.heard] == [960]


async def test_a_clear_forgets_pcm_that_was_not_encoded(make_world: Callable[..., World]) -> None:
    """Playout counts frames of the backend: sent, and cleared before they were packets."""
    world = await make_world(echo=False).connect()
    for start in range(10):
        world.session.on_audio(tone(16_000, start=start * 320), 960)
    await world.advance(0.055)
    world.session.on_clear()
    sent, acked, cleared, queued = world.handle.playouts[-1]
    assert (sent, acked, cleared, queued) == (len(world.caller.heard), 0, 10 - sent, 0)
    assert 0 < sent < 10


async def test_what_the_caller_reports_is_acknowledged(make_world: Callable[..., World]) -> None:
    """A report of loss counts in frames and turns redundancy on, if it was offered."""
    offer = make_offer()
    offer = replace(
        offer, audio=replace(offer.audio, red_payload_type=63, wishes=OpusWishes(fec=True))
    )
    world = await make_world(offer=offer, echo=False).connect()
    for start in range(20):
        world.session.on_audio(tone(16_000, start=start * 320), 960)
    await world.advance(0.195)
    heard = len(world.caller.heard)
    highest = world.caller.heard[-1].sequence
    block = ReportBlock(world.session.ssrc, 26, 1, highest, 0, 0, 0)
    world.caller.report(ReceiverReport(0x1234, (block,)))
    await world.settle()
    assert world.handle.playouts[-1][1] == heard - 1
    await world.advance(0.1)
    assert {packet.payload_type for packet in world.caller.heard[heard:]} == {63}


async def test_silence_is_left_out_for_a_caller_that_asks_for_dtx(
    make_world: Callable[..., World],
) -> None:
    """Few packets, no refused frame, and every frame counted as sent."""
    offer = make_offer()
    offer = replace(offer, audio=replace(offer.audio, wishes=OpusWishes(dtx=True)))
    world = await make_world(offer=offer, echo=False).connect()
    for _ in range(100):
        world.session.on_audio(bytes(640), 960)
    await world.advance(2.2)
    assert len(world.caller.heard) < 50
    world.session.on_clear()
    assert world.handle.playouts[-1] == (100, 0, 0, 0)
    assert world.handle.credit == 100


async def test_a_pause_is_heard_as_silence_in_real_time(make_world: Callable[..., World]) -> None:
    """After a DTX packet the backend goes on hearing frames while nothing comes."""
    world = await make_world(echo=False).connect()
    for packet in [*speech(5), b"\xf8"]:
        world.caller.say(packet)
        await world.settle()
        await world.advance(0.02)
    before = len(world.handle.audio)
    await world.advance(0.5)
    assert 20 <= len(world.handle.audio) - before <= 25
    assert not any(entry[3] for entry in world.handle.audio)


async def test_the_backend_sets_the_encoder(make_world: Callable[..., World]) -> None:
    """A bit rate that came with Accepted is what the caller hears; nonsense changes nothing."""
    sizes = []
    for encoder in ({}, {"bitrate_bps": 96_000}, {"bitrate_bps": 96_000, "complexity": 11}):
        world = await make_world(echo=False).connect()
        world.session.on_encoder(model_pb2.OpusEncoder(**encoder))  # type: ignore[arg-type]
        for number in range(20):
            world.session.on_audio(tone(16_000, start=number * 320), 960)
            await world.settle()
            await world.advance(0.02)
        assert len(world.caller.heard) == 20
        sizes.append(sum(len(packet.payload) for packet in world.caller.heard))
        assert world.counters["encoder_refused"] == (len(encoder) == 2)
    assert sizes[1] > 2 * sizes[0] == 2 * sizes[2]


def test_a_backend_with_unknown_formats_gets_no_call() -> None:
    """The refusal is the one for a backend that is not there."""
    with pytest.raises(BackendAbsent, match="format"):
        asyncio.run(_open_unknown())


async def _open_unknown() -> None:
    World(accepts=(99,))


async def test_a_pcm_call_over_the_trunk() -> None:
    """The whole engine: Opus up, PCM to the backend and back, Opus down, all in order."""
    link = FakeLink(accepts=(PCM16,))
    engine = Engine(TOKEN_KEYS, TRUNK_KEYS, ROUTE, OUR_CERTIFICATE)
    relay = Relay(await engine.start(LOOPBACK))
    try:
        _, caller = await connect(engine, relay, link=link)
        for packet in speech(10):
            caller.say(packet)
        await converse(relay, caller, lambda: len(caller.heard) >= 10)
        assert [entry[3] for entry in link.handles[0].audio[:10]] == [0] * 10
        assert {len(entry[0]) for entry in link.handles[0].audio} == {640}
        sequences = [packet.sequence for packet in caller.heard]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
        assert {opus.duration(packet.payload) for packet in caller.heard} == {960}
    finally:
        await engine.close()
        relay.socket.close()
