"""Between Opus and PCM: frames of 20 ms, whatever the packets, and nothing lost between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transceiver.opus.test_opus_codec import CODECS, both, tone
from transceiver.call.offer import OpusWishes
from transceiver.call.pcm_voice import PcmVoice, choose_format
from transceiver.opus.codec import RATES_HZ, Codec, samples
from transceiver.opus.settings import EncoderSettings
from transceiver.rtp.receive import Frame, Origin
from trunkline.v1 import model_pb2

RATE_HZ = 16_000
DIRECT = CODECS["direct"]
OPUS, PCM8, PCM16 = (
    model_pb2.AUDIO_FORMAT_OPUS,
    model_pb2.AUDIO_FORMAT_PCM16_8000,
    model_pb2.AUDIO_FORMAT_PCM16_16000,
)


def voice(codec: Codec = DIRECT, rate_hz: int = RATE_HZ) -> PcmVoice:
    return PcmVoice(codec, rate_hz, OpusWishes())


def packet(ticks: int = 960) -> bytes:
    return DIRECT.encoder(EncoderSettings.speech(RATE_HZ)).encode(tone(RATE_HZ, ticks))


@both
@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_packet_is_a_frame(codec: Codec, rate_hz: int) -> None:
    """20 ms of Opus are 20 ms of PCM at the backend's rate, with its time and its losses."""
    sounds = voice(codec, rate_hz).hear([Frame(packet(), 4242, 3, Origin.PACKET, 960)])
    assert [(len(s.pcm), s.rtp_time, s.duration, s.lost) for s in sounds] == [
        (2 * samples(960, rate_hz), 4242, 960, 3)
    ]


@given(st.lists(st.sampled_from([120, 240, 480, 960, 1920, 2880]), min_size=1, max_size=30))
def test_any_packet_length_is_cut_into_20_ms(lengths: list[int]) -> None:
    """Every frame but kept rests has 20 ms, and their times count on across the wrap."""
    subject = voice()
    start = at = 0x1_0000_0000 - 5000
    sounds = []
    for ticks in lengths:
        frame = Frame(packet(ticks), at & 0xFFFF_FFFF, 0, Origin.PACKET, ticks)
        sounds += subject.hear([frame])
        at += ticks
    assert len(sounds) == (at - start) // 960
    assert {len(sound.pcm) for sound in sounds} <= {640}
    assert [sound.rtp_time for sound in sounds] == [
        (start + 960 * n) & 0xFFFF_FFFF for n in range(len(sounds))
    ]


def test_a_rest_before_a_gap_stands_alone() -> None:
    """Half a frame is not glued to sound that comes later."""
    subject = voice()
    assert subject.hear([Frame(packet(480), 0, 0, Origin.PACKET, 480)]) == []
    sounds = subject.hear([Frame(packet(), 9600, 0, Origin.PACKET, 960)])
    assert [(s.rtp_time, s.duration, len(s.pcm)) for s in sounds] == [
        (0, 480, 320),
        (9600, 960, 640),
    ]


@pytest.mark.parametrize("origin", list(Origin))
def test_each_origin_gives_a_whole_frame(origin: Origin) -> None:
    """Packets, FEC, concealment and noise are all as long as they should be."""
    subject = voice()
    subject.hear([Frame(packet(), 0, 0, Origin.PACKET, 960)])
    payload = packet() if origin in (Origin.PACKET, Origin.FEC) else b""
    (sound,) = subject.hear([Frame(payload, 960, 0, origin, 960)])
    assert (len(sound.pcm), sound.rtp_time, sound.duration) == (640, 960, 960)


def test_a_pause_without_dtx_is_digital_silence() -> None:
    """The decoder is not asked to go on with a voice that has stopped."""
    subject = voice()
    subject.hear([Frame(packet(), 0, 0, Origin.PACKET, 960)])
    (sound,) = subject.hear([Frame(b"", 960, 0, Origin.COMFORT, 960)])
    assert sound.pcm == bytes(640)


@pytest.mark.parametrize("bad", [b"", b"\xff", b"\xff\xff\xff"])
def test_what_is_no_opus_is_concealed_and_counted(bad: bytes) -> None:
    """A malformed packet costs its own frame only."""
    subject = voice()
    sounds = subject.hear(
        [Frame(bad, 0, 0, Origin.PACKET, 960), Frame(packet(), 960, 0, Origin.PACKET, 960)]
    )
    assert [len(sound.pcm) for sound in sounds] == [640, 640]
    assert subject.malformed == 1


@pytest.mark.parametrize(
    ("accepts", "chosen"),
    [
        ((), OPUS),
        ((OPUS,), OPUS),
        ((PCM16, OPUS), PCM16),
        ((OPUS, PCM16), OPUS),
        ((99, PCM8), PCM8),
        ((99,), 0),
        ((0,), 0),
    ],
)
def test_the_backends_first_choice_is_taken(accepts: tuple[int, ...], chosen: int) -> None:
    """Its order decides; formats of a later protocol are passed over."""
    assert choose_format(accepts) == chosen
