"""Opus parameters and redundancy in an offer, and what the answer makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transceiver.offers import NAMES, real_offer, replaced, without
from transceiver.call.offer import AudioOffer, OpusWishes
from transceiver.signaling.audio_formats import opus_wishes, red_payload_type
from transceiver.signaling.offer_policy import read_offer
from transceiver.signaling.sdp_sections import MediaLine, Section

LINE = MediaLine("audio", 9, "UDP/TLS/RTP/SAVPF", "111 63 0")


def section(*lines: str) -> Section:
    return Section(("m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0", *lines))


def audio_of(text: str) -> AudioOffer:
    return read_offer(text).offer.audio


def test_browsers_are_understood() -> None:
    """Chrome offers redundancy and FEC; Firefox FEC and no redundancy."""
    chrome = audio_of(real_offer("chromium_audio_data"))
    assert (chrome.red_payload_type, chrome.wishes) == (63, OpusWishes(fec=True))
    firefox = audio_of(real_offer("firefox_audio_data"))
    assert (firefox.red_payload_type, firefox.wishes) == (None, OpusWishes(fec=True))


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_offer_still_reads(name: str) -> None:
    """None of what is read here refuses an offer that was taken before."""
    assert audio_of(real_offer(name)).payload_type


@pytest.mark.parametrize(
    ("parameters", "wishes"),
    [
        ("", OpusWishes()),
        ("useinbandfec=1;usedtx=1", OpusWishes(fec=True, dtx=True)),
        ("UseInbandFec=1; usedtx=0", OpusWishes(fec=True)),
        ("maxaveragebitrate=20000;maxplaybackrate=16000", OpusWishes(20_000, 16_000)),
        ("maxaveragebitrate=5999;maxplaybackrate=7999", OpusWishes()),
        ("maxaveragebitrate=510001;maxplaybackrate=48001", OpusWishes()),
        ("maxaveragebitrate=-1;maxplaybackrate=x;;=;stereo", OpusWishes()),
        ("maxaveragebitrate=" + "9" * 5000, OpusWishes()),
        ("maxaveragebitrate=²0000", OpusWishes()),
    ],
)
def test_parameters_of_opus(parameters: str, wishes: OpusWishes) -> None:
    """What RFC 7587 §6.1 allows is taken; anything else counts as not said."""
    assert opus_wishes(section(f"a=fmtp:111 {parameters}"), 111) == wishes
    assert opus_wishes(section(f"a=fmtp:112 {parameters}"), 111) == OpusWishes()


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (("a=rtpmap:63 red/48000/2", "a=fmtp:63 111/111"), 63),
        (("a=rtpmap:63 RED/48000/2", "a=fmtp:63 111"), 63),
        (("a=rtpmap:63 red/48000/2",), None),
        (("a=rtpmap:63 red/48000/2", "a=fmtp:63 111/0"), None),
        (("a=rtpmap:63 red/48000/2", "a=fmtp:63 0/0"), None),
        (("a=rtpmap:63 red/8000", "a=fmtp:63 111/111"), None),
        (("a=rtpmap:64 red/48000/2", "a=fmtp:64 111/111"), None),
        (("a=rtpmap:999 red/48000/2", "a=fmtp:999 111/111"), None),
    ],
)
def test_redundancy_is_taken_over_our_opus_only(lines: tuple[str, ...], found: int | None) -> None:
    """Red needs its rtpmap, a payload type of the m= line, and copies of that Opus alone."""
    assert red_payload_type(section(*lines), LINE, 111) == found


@given(st.lists(st.text(max_size=40), max_size=10))
def test_hostile_lines_refuse_nothing(values: list[str]) -> None:
    """No value makes reading raise."""
    lines = [f"a=fmtp:111 {value}" for value in values] + [f"a=rtpmap:{v}" for v in values]
    assert opus_wishes(section(*lines), 111).max_playback_hz in range(8_000, 48_001)
    assert red_payload_type(section(*lines), LINE, 111) is None


def test_without_red_the_offer_is_the_same_call() -> None:
    """An offer stripped of redundancy differs in that alone."""
    plain = without(without(real_offer(), "a=rtpmap:63"), "a=fmtp:63")
    plain = replaced(plain, " 111 63 ", " 111 ")
    assert audio_of(plain).red_payload_type is None
    assert audio_of(plain).payload_type == audio_of(real_offer()).payload_type
