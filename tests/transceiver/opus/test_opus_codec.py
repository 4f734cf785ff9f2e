"""The codecs: libopus by itself and PyAV's, held to the same promises."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transceiver.call.offer import OpusWishes
from transceiver.opus import libopus, open_codec
from transceiver.opus.codec import FRAME_DURATIONS, RATES_HZ, Codec, duration, samples
from transceiver.opus.direct import DirectCodec
from transceiver.opus.settings import (
    LARGEST_BPS,
    SMALLEST_BPS,
    BackendWishes,
    EncoderSettings,
)
from transceiver.opus.through_av import AvCodec
from transceiver.rtp import opus as packets
from trunkline.backend import OpusEncoder

FRAME = 960


def direct() -> DirectCodec:
    found = libopus.load(libopus.places())
    assert found is not None, "the tests need a libopus; PyAV's wheel brings one"
    return DirectCodec(found)


CODECS: dict[str, Codec] = {"direct": direct(), "PyAV": AvCodec()}
both = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())


def tone(rate_hz: int, ticks: int = FRAME, start: int = 0, hz: float = 440.0) -> bytes:
    count = samples(ticks, rate_hz)
    values = (int(8000 * math.sin(2 * math.pi * hz * (start + n) / rate_hz)) for n in range(count))
    return struct.pack(f"<{count}h", *values)


def level(pcm: bytes) -> float:
    values = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    return math.sqrt(sum(v * v for v in values) / max(1, len(values)))


def speak(codec: Codec, rate_hz: int, bitrate_bps: int = 24_000) -> list[bytes]:
    encoder = codec.encoder(EncoderSettings(rate_hz, bitrate_bps))
    return [encoder.encode(tone(rate_hz, start=n * rate_hz // 50)) for n in range(25)]


@both
@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_sound_survives_the_codec(codec: Codec, rate_hz: int) -> None:
    """A tone comes back in frames of the same length and, once it has begun, at its level."""
    decoder = codec.decoder(rate_hz)
    heard = [decoder.decode(packet) for packet in speak(codec, rate_hz)]
    assert {len(pcm) for pcm in heard} == {2 * samples(FRAME, rate_hz)}
    assert level(b"".join(heard[5:])) == pytest.approx(8000 / math.sqrt(2), rel=0.2)


@both
@pytest.mark.parametrize("ticks", FRAME_DURATIONS)
def test_each_frame_length_is_one_packet_of_that_length(codec: Codec, ticks: int) -> None:
    """What the encoder writes is as long as what it was given."""
    encoder = codec.encoder(EncoderSettings.speech(16_000))
    packet = encoder.encode(tone(16_000, ticks))
    assert packets.duration(packet) == ticks


@both
@pytest.mark.parametrize("size_bytes", [0, 1, 639, 641, 642, 960, 3840])
def test_a_frame_of_another_length_is_refused(codec: Codec, size_bytes: int) -> None:
    """Only the lengths of Opus are taken, with one clear error for the others."""
    with pytest.raises(ValueError, match="no Opus frame"):
        codec.encoder(EncoderSettings.speech(16_000)).encode(bytes(size_bytes))
    assert duration(bytes(size_bytes), 16_000) == 0


@both
def test_a_rate_opus_does_not_have_is_refused(codec: Codec) -> None:
    """44,100 Hz is an error where the codec is made, for both directions."""
    with pytest.raises(ValueError, match="44100 Hz"):
        codec.decoder(44_100)
    with pytest.raises(ValueError, match="44100 Hz"):
        codec.encoder(EncoderSettings(44_100, 24_000))


@both
@given(st.binary(max_size=200))
def test_hostile_packets_give_sound_or_nothing(codec: Codec, packet: bytes) -> None:
    """No packet makes a decoder raise, or give more than 120 ms."""
    decoder = codec.decoder(16_000)
    assert len(decoder.decode(packet)) <= 2 * 1920
    assert len(decoder.recover(packet, FRAME)) == 640
    assert len(decoder.conceal(FRAME)) == 640


def test_a_lost_frame_comes_back_from_in_band_fec() -> None:
    """With FEC the frame is near the original; without, only the guess of the decoder."""
    codec = direct()
    # A tone that begins in the lost frame: nothing before it lets a decoder guess it.
    encoder = codec.encoder(EncoderSettings(16_000, 32_000, fec=True, loss_percent=20))
    sounds = [bytes(640)] * 10 + [tone(16_000, start=n * 320) for n in range(6)]
    sent = [encoder.encode(pcm) for pcm in sounds]
    with_fec, without = codec.decoder(16_000), codec.decoder(16_000)
    for packet in sent[:12]:
        with_fec.decode(packet)
        without.decode(packet)
    assert level(with_fec.recover(sent[13], FRAME)) > 2000
    assert len(without.conceal(FRAME)) == 640


def test_concealment_fades() -> None:
    """A loss is bridged at first, and is silence before a quarter of a second is over."""
    decoder = direct().decoder(16_000)
    for packet in speak(direct(), 16_000):
        decoder.decode(packet)
    guessed = [level(decoder.conceal(FRAME)) for _ in range(12)]
    assert guessed[0] > 1000
    assert guessed[-1] < 100


def test_silence_is_left_out_with_dtx_only() -> None:
    """An encoder told to do DTX ends in packets of at most two bytes, another does not."""
    for dtx in (False, True):
        encoder = direct().encoder(EncoderSettings(16_000, 24_000, dtx=dtx))
        sizes = [len(encoder.encode(bytes(640))) for _ in range(60)]
        assert (min(sizes[30:]) <= packets.DTX_BYTES) is dtx


def test_the_bit_rate_is_kept() -> None:
    """A lower bit rate makes smaller packets."""
    small, large = (sum(map(len, speak(direct(), 48_000, bps))) for bps in (12_000, 64_000))
    assert small * 2 < large


def test_without_a_library_pyav_takes_over(tmp_path: Path) -> None:
    """A place with no library, or with another one, is passed over; then there is none."""
    (tmp_path / "libopus-0.so").write_bytes(b"no library")
    libm = "libm.so.6"  # loads, and has none of the functions
    assert libopus.load([str(tmp_path / "none"), str(tmp_path / "libopus-0.so"), libm]) is None
    assert open_codec().name.startswith("libopus")


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        (OpusWishes(), (24_000, False, False)),
        (OpusWishes(fec=True, dtx=True), (24_000, True, True)),
        (OpusWishes(max_average_bps=16_000), (16_000, False, False)),
        (OpusWishes(max_average_bps=LARGEST_BPS), (24_000, False, False)),
        (OpusWishes(max_average_bps=1), (SMALLEST_BPS, False, False)),
    ],
)
def test_the_callers_wishes_set_the_encoder(
    wishes: OpusWishes, expected: tuple[int, bool, bool]
) -> None:
    """The bit rate is ours within the caller's limit; FEC and DTX are the caller's to ask for."""
    settings = EncoderSettings.speech(16_000, wishes)
    assert (settings.bitrate_bps, settings.fec, settings.dtx) == expected


@pytest.mark.parametrize(
    ("caller", "backend", "expected"),
    [
        (OpusWishes(), BackendWishes(), (24_000, 1, False, False)),
        (OpusWishes(fec=True), BackendWishes(64_000, 8), (64_000, 8, True, False)),
        (OpusWishes(max_average_bps=20_000), BackendWishes(64_000), (20_000, 1, False, False)),
        (OpusWishes(), BackendWishes(complexity=0, fec=True), (24_000, 0, False, False)),
        (OpusWishes(fec=True), BackendWishes(fec=False), (24_000, 1, False, False)),
        (OpusWishes(), BackendWishes(dtx=True), (24_000, 1, False, True)),
        (OpusWishes(dtx=True), BackendWishes(dtx=False), (24_000, 1, False, False)),
    ],
)
def test_the_backend_sets_the_encoder_within_the_callers_limits(
    caller: OpusWishes, backend: BackendWishes, expected: tuple[int, int, bool, bool]
) -> None:
    """Bit rate and FEC stay within what the caller can take; effort and DTX are the backend's."""
    chosen = EncoderSettings.speech(16_000, caller, backend)
    assert (chosen.bitrate_bps, chosen.complexity, chosen.fec, chosen.dtx) == expected


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"bitrate_bps": SMALLEST_BPS - 1}, "bitrate_bps"),
        ({"bitrate_bps": LARGEST_BPS + 1}, "bitrate_bps"),
        ({"bitrate_bps": 0}, "bitrate_bps"),
        ({"complexity": 11}, "complexity"),
    ],
)
def test_what_opus_does_not_have_cannot_be_asked(values: dict[str, int], name: str) -> None:
    """The field that is out of range is named, on either end of the link."""
    for kind in (BackendWishes, OpusEncoder):
        with pytest.raises(ValueError, match=name):
            kind(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("playback_hz", [8_000, 11_000, 16_000, 24_000, 48_000])
def test_the_band_is_what_the_caller_can_play(playback_hz: int) -> None:
    """The packets' bandwidth (RFC 6716 §3.1, configuration) is no wider than asked for."""
    narrow_first = {8_000: 1, 11_000: 1, 16_000: 3, 24_000: 4, 48_000: 5}
    encoder = direct().encoder(EncoderSettings(48_000, 64_000, max_playback_hz=playback_hz))
    packet = [encoder.encode(tone(48_000, start=n * 960)) for n in range(10)][-1]
    assert _bandwidth(packet[0] >> 3) <= narrow_first[playback_hz]


def _bandwidth(configuration: int) -> int:
    if configuration < 12:
        return 1 + configuration // 4
    if configuration < 16:
        return 4 + (configuration - 12) // 2
    return (1, 3, 4, 5)[(configuration - 16) // 4]
