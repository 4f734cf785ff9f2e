"""Which offers are taken, and that every other text is refused in the one documented way."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.transceiver.offers import NAMES, real_offer, replaced, without
from transceiver.signaling.offer_policy import (
    MAX_OFFER_BYTES,
    MAX_SECTIONS,
    CheckedOffer,
    OfferRefused,
    read_offer,
)
from transceiver.signaling.problem import PROBLEMS

CHROME = real_offer()
FIREFOX = real_offer("firefox_audio_data")
DIGEST_256 = ":".join(["AB"] * 32)


def code_of(text: str) -> str:
    """The code with which the text is refused."""
    with pytest.raises(OfferRefused) as refused:
        read_offer(text)
    assert refused.value.detail
    return refused.value.code


@pytest.mark.parametrize("name", NAMES)
def test_takes_real_offers(name: str) -> None:
    """Every offer a real client made is taken, with one m= line kept per section."""
    checked = read_offer(real_offer(name))
    assert checked.offer.audio.sends
    assert checked.offer.dtls_role == "client"
    assert len(checked.sections) == len(checked.offer.mids)


def test_reads_what_chromium_says() -> None:
    """Each value the session needs is the one that stands in Chromium's offer."""
    offer = read_offer(CHROME).offer
    assert (offer.ufrag, offer.password) == ("oUeR", "3Uxu1FufXkBItewjW16Iz98o")
    assert (offer.audio.mid, offer.audio.payload_type) == ("0", 111)
    assert offer.audio.ssrc == 2977862682
    assert offer.fingerprints[0].algorithm == "sha-256"
    assert offer.data is not None
    assert (offer.data.mid, offer.data.sctp_port) == ("1", 5000)
    assert offer.data.max_message_size == 262144


def test_reads_bundle_only_sections() -> None:
    """A data section with port 0 and a=bundle-only is offered, not rejected (RFC 9143 §6)."""
    offer = read_offer(real_offer("firefox_audio_video_data_max_bundle")).offer
    assert offer.data is not None
    assert offer.data.mid == "2"


@pytest.mark.parametrize(
    ("direction", "sends", "receives"),
    [
        ("sendrecv", True, True),
        ("sendonly", True, False),
        ("recvonly", False, True),
        ("inactive", False, False),
    ],
)
def test_reads_the_direction(direction: str, sends: bool, receives: bool) -> None:
    """Who may speak follows from the audio section's direction."""
    audio = read_offer(replaced(CHROME, "a=sendrecv", f"a={direction}")).offer.audio
    assert (audio.sends, audio.receives) == (sends, receives)


def test_direction_falls_back_to_the_session_and_then_to_sendrecv() -> None:
    """Without a line of its own a section has the session's direction, or sendrecv."""
    bare = without(CHROME, "a=sendrecv")
    assert read_offer(bare).offer.audio.receives
    session_level = replaced(bare, "t=0 0", "t=0 0\r\na=sendonly")
    assert not read_offer(session_level).offer.audio.receives


@pytest.mark.parametrize(
    ("setup", "role"), [("actpass", "client"), ("passive", "client"), ("active", "server")]
)
def test_chooses_our_dtls_role(setup: str, role: str) -> None:
    """We are the DTLS client whenever the caller leaves it to us."""
    text = replaced(CHROME, "a=setup:actpass", f"a=setup:{setup}")
    assert read_offer(text).offer.dtls_role == role


def test_video_is_left_out_and_kept_in_place() -> None:
    """A video section takes its place among the m= lines and is no part of the offer otherwise."""
    checked = read_offer(real_offer("chromium_audio_video_data"))
    assert [line.kind for line in checked.sections] == ["audio", "video", "application"]
    assert checked.offer.audio.mid == "0"


def test_takes_the_first_audio_section_with_opus() -> None:
    """An audio section without Opus before one with it does not end the call."""
    head, audio, data = CHROME.replace("m=application", "m=audio", 0).partition("m=application")
    session, mark, first = head.partition("m=audio")
    second = replaced(replaced(first, "a=mid:0", "a=mid:2"), "opus/48000/2", "speex/8000")
    text = replaced(session, "BUNDLE 0 1", "BUNDLE 2 0 1") + mark + second + mark + first
    assert read_offer(text + audio + data).offer.audio.mid == "0"


def test_data_section_outside_the_bundle_is_left_out() -> None:
    """A data section with a transport of its own is not taken; the call is."""
    assert read_offer(replaced(CHROME, "BUNDLE 0 1", "BUNDLE 0")).offer.data is None


def test_data_section_has_the_defaults_of_rfc_8841() -> None:
    """Without a=sctp-port and a=max-message-size they are 5000 and 64 KiB."""
    text = without(without(CHROME, "a=sctp-port"), "a=max-message-size")
    data = read_offer(text).offer.data
    assert data is not None
    assert (data.sctp_port, data.max_message_size) == (5000, 65536)


@pytest.mark.parametrize(("algorithm", "size"), [("sha-256", 32), ("sha-384", 48), ("SHA-512", 64)])
def test_takes_the_sha_2_fingerprints(algorithm: str, size: int) -> None:
    """SHA-256, SHA-384 and SHA-512 are taken in either case, and upper-cased."""
    bare = without(FIREFOX, "a=fingerprint")
    digest = ":".join(["ab"] * size)
    text = replaced(bare, "t=0 0", f"t=0 0\r\na=fingerprint:{algorithm} {digest}")
    (fingerprint,) = read_offer(text).offer.fingerprints
    assert (fingerprint.algorithm, fingerprint.value) == (algorithm.lower(), digest.upper())


def test_passes_over_a_fingerprint_with_an_old_hash() -> None:
    """SHA-1 beside SHA-256 is ignored, not refused (RFC 8122 §5)."""
    sha_1 = "a=fingerprint:sha-1 " + ":".join(["AB"] * 20)
    text = replaced(FIREFOX, "t=0 0", f"t=0 0\r\n{sha_1}")
    assert [f.algorithm for f in read_offer(text).offer.fingerprints] == ["sha-256"]


REFUSED = {
    "empty": ("", "not_sdp"),
    "prose": ("Hello, I would like to make a call.", "not_sdp"),
    "json": ('{"type": "offer"}', "not_sdp"),
    "session only": ("v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", "no_audio"),
    "large": (CHROME + "a=x:" + "y" * MAX_OFFER_BYTES, "too_large"),
    "many sections": (CHROME + "m=video 0 X 1\r\n" * MAX_SECTIONS, "too_many_sections"),
    "broken m=": (replaced(CHROME, "m=audio 9", "m=audio x"), "not_sdp"),
    "broken rtpmap": (replaced(CHROME, "opus/48000/2", "opus"), "not_sdp"),
    "broken payload type": (replaced(CHROME, "SAVPF 111", "SAVPF x11"), "not_sdp"),
    "broken ssrc": (replaced(CHROME, "a=ssrc:2977862682 cname", "a=ssrc:x cname"), "not_sdp"),
    "huge ssrc": (replaced(CHROME, "a=ssrc:2977862682", "a=ssrc:4294967296"), "not_sdp"),
    "huge sctp-port": (replaced(CHROME, "sctp-port:5000", "sctp-port:65536"), "not_sdp"),
    "negative size": (replaced(CHROME, "size:262144", "size:-1"), "not_sdp"),
    "no mid": (without(CHROME, "a=mid"), "no_mid"),
    "one mid twice": (replaced(CHROME, "a=mid:1", "a=mid:0"), "bad_mid"),
    "mid with a space": (replaced(CHROME, "a=mid:1", "a=mid:1 2"), "bad_mid"),
    "long mid": (replaced(CHROME, "a=mid:1", "a=mid:" + "1" * 33), "bad_mid"),
    "video only": (replaced(CHROME, "m=audio", "m=video"), "no_audio"),
    "audio rejected": (replaced(CHROME, "m=audio 9", "m=audio 0"), "no_audio"),
    "audio in the clear": (replaced(CHROME, "UDP/TLS/RTP/SAVPF", "RTP/AVP"), "no_audio"),
    "no opus": (replaced(CHROME, "opus/48000/2", "speex/48000/2"), "no_opus"),
    "mono opus": (replaced(CHROME, "opus/48000/2", "opus/48000"), "no_opus"),
    "opus not in m=": (replaced(CHROME, "SAVPF 111 63", "SAVPF 63"), "no_opus"),
    "opus like RTCP": (replaced(CHROME, "111", "95"), "no_opus"),
    "no group": (without(CHROME, "a=group"), "no_bundle"),
    "audio not bundled": (replaced(CHROME, "BUNDLE 0 1", "BUNDLE 1"), "no_bundle"),
    "second ufrag": (replaced(FIREFOX, "127f4cf7\r\na=mid:1", "1234567\r\na=mid:1"), "no_bundle"),
    "second password": (
        CHROME.replace("16Iz98o", "16Iz98p", 1),
        "no_bundle",
    ),
    "second certificate": (CHROME + f"a=fingerprint:sha-256 {DIGEST_256}\r\n", "no_bundle"),
    "no rtcp-mux": (without(CHROME, "a=rtcp-mux"), "no_rtcp_mux"),
    "ice-lite": (replaced(CHROME, "t=0 0", "t=0 0\r\na=ice-lite"), "ice_lite"),
    "no ufrag": (without(CHROME, "a=ice-ufrag"), "no_ice_credentials"),
    "no password": (without(CHROME, "a=ice-pwd"), "no_ice_credentials"),
    "short ufrag": (replaced(CHROME, "oUeR", "oUe"), "bad_ice_credentials"),
    "ufrag with a colon": (replaced(CHROME, "oUeR", "oU:eR"), "bad_ice_credentials"),
    "long ufrag": (replaced(CHROME, "oUeR", "o" * 257), "bad_ice_credentials"),
    "short password": (replaced(CHROME, "3Uxu1Fuf", ""), "bad_ice_credentials"),
    "no fingerprint": (without(CHROME, "a=fingerprint"), "no_fingerprint"),
    "short fingerprint": (replaced(CHROME, "sha-256 EE:", "sha-256 "), "bad_fingerprint"),
    "fingerprint not hex": (replaced(CHROME, "sha-256 EE:", "sha-256 XX:"), "bad_fingerprint"),
    "md5 only": (replaced(CHROME, "sha-256", "md5"), "bad_fingerprint"),
    "many fingerprints": (
        FIREFOX + f"a=fingerprint:sha-256 {DIGEST_256}\r\n" * 9,
        "bad_fingerprint",
    ),
    "no setup": (without(CHROME, "a=setup"), "bad_setup"),
    "holdconn": (replaced(CHROME, "actpass", "holdconn"), "bad_setup"),
    "setup nobody knows": (replaced(CHROME, "actpass", "maybe"), "bad_setup"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_with_the_documented_code(name: str) -> None:
    """Each rule refuses with its own code, which is also a code of the HTTP problems."""
    text, code = REFUSED[name]
    assert code_of(text) == code
    assert code in PROBLEMS


def test_a_large_offer_of_hostile_lines_is_read_in_linear_steps() -> None:
    """Thousands of lines that the SDP library handles in quadratic time do not reach it."""
    hostile = "".join(f"a=ssrc:{n} x:y\r\na=rtcp-fb:* x\r\n" for n in range(1500))
    checked = read_offer(replaced(CHROME, "m=application", hostile + "m=application"))
    assert checked.offer.audio.ssrc == 2977862682


def verdict(text: str) -> CheckedOffer | OfferRefused:
    """What comes of a text; anything but the two is a failure of the calling test."""
    try:
        return read_offer(text)
    except OfferRefused as refused:
        assert refused.code in PROBLEMS
        return refused


LINES = sorted({line for name in NAMES for line in real_offer(name).split("\r\n")})
LINE = st.sampled_from(LINES) | st.builds("a={}:{}".format, st.text(max_size=9), st.text())


@settings(max_examples=150, deadline=None)
@given(st.text() | st.lists(LINE).map("\r\n".join).map("v=0\r\n{}".format))
@example("v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 111\na=mid:0\na=rtpmap\n")
@example("v=0\na=group:\nm=audio 9 UDP/TLS/RTP/SAVPF 111\na=mid:0\na=rtpmap:111 opus/48000/2")
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text, also any heap of real lines, gives an offer or OfferRefused and nothing else."""
    assert isinstance(verdict(text), CheckedOffer | OfferRefused)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 12), st.text(max_size=3)), max_size=4),
)
def test_a_mutated_real_offer_is_read_or_refused(
    name: str, cuts: list[tuple[int, int, str]]
) -> None:
    """A real offer with pieces cut out and put in gives an offer or OfferRefused."""
    text = real_offer(name)
    for start, length, piece in cuts:
        at = start % len(text)
        text = text[:at] + piece + text[at + length :]
    assert isinstance(verdict(text), CheckedOffer | OfferRefused)


@pytest.mark.parametrize("name", NAMES)
def test_every_line_may_be_missing(name: str) -> None:
    """A real offer without any one of its lines is read or refused."""
    lines = real_offer(name).split("\r\n")
    for index in range(len(lines)):
        text = "\r\n".join(lines[:index] + lines[index + 1 :])
        assert isinstance(verdict(text), CheckedOffer | OfferRefused)
