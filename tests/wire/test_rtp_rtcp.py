"""RTP and RTCP codecs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import rtcp, rtp
from wire.classify import PacketKind, classify
from wire.errors import WireError

u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


@given(st.integers(0, 127), st.booleans(), u16, u32, u32, st.binary(max_size=200))
def test_rtp_round_trip(payload_type, marker, sequence, timestamp, ssrc, payload) -> None:  # type: ignore[no-untyped-def]
    """Every field comes back."""
    packet = rtp.write(payload_type, marker, sequence, timestamp, ssrc, payload)
    assert rtp.read(packet) == (payload_type, marker, sequence, timestamp, ssrc, payload)


@given(st.integers(0, 15), st.none() | st.integers(0, 5), st.integers(0, 4), st.binary(max_size=20))
def test_rtp_skips_what_it_does_not_use(csrcs, extension_words, padding, payload) -> None:  # type: ignore[no-untyped-def]
    """CSRCs, a header extension and padding are stepped over (RFC 3550 §5.1, §5.3.1)."""
    first = 0x80 | csrcs | (0x10 if extension_words is not None else 0) | (0x20 if padding else 0)
    packet = bytes([first, 111]) + bytes(10) + bytes(4 * csrcs)
    if extension_words is not None:
        packet += b"\xbe\xde" + extension_words.to_bytes(2) + bytes(4 * extension_words)
    packet += payload + (bytes(padding - 1) + bytes([padding]) if padding else b"")
    assert rtp.read(packet).payload == payload


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "rtp_short"),
        (bytes(12), "rtp_version"),
        (b"\x81" + bytes(11), "rtp_length"),
        (b"\x90" + bytes(11), "rtp_length"),
        (b"\x90" + bytes(11) + b"\xbe\xde\x00\x09", "rtp_length"),
        (b"\xa0" + bytes(11), "rtp_padding"),
        (b"\xa0" + bytes(11) + b"\x09", "rtp_length"),
    ],
)
def test_bad_rtp(packet: bytes, reason: str) -> None:
    """Each way to be malformed has its reason."""
    with pytest.raises(WireError, match=reason):
        rtp.read(packet)


blocks = st.lists(
    st.builds(
        rtcp.ReportBlock,
        u32,
        st.integers(0, 255),
        st.integers(-0x800000, 0x7FFFFF),
        u32,
        u32,
        u32,
        u32,
    ),
    max_size=3,
).map(tuple)
packets = st.one_of(
    st.builds(rtcp.SenderReport, u32, st.integers(0, 2**64 - 1), u32, u32, u32, blocks),
    st.builds(rtcp.ReceiverReport, u32, blocks),
    st.builds(rtcp.SourceDescription, u32, st.text("abc@ü", min_size=1, max_size=30)),
    st.builds(rtcp.Goodbye, st.lists(u32, min_size=1, max_size=4).map(tuple)),
)


@given(st.lists(packets, min_size=1, max_size=4))
def test_rtcp_round_trip(compound: list[rtcp.RtcpPacket]) -> None:
    """A compound comes back packet by packet."""
    assert list(rtcp.read(rtcp.write(compound))) == compound


def test_unknown_rtcp_is_passed_over() -> None:
    """Feedback and application packets between reports do not hide them."""
    report = rtcp.ReceiverReport(5)
    feedback = b"\x8f\xce\x00\x02" + bytes(8)
    assert rtcp.read(feedback + rtcp.write([report]) + feedback) == (report,)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"\x80\xc9\x00", "rtcp_short"),
        (b"\x00\xc9\x00\x00", "rtcp_version"),
        (b"\x80\xc9\x00\x05", "rtcp_length"),
        (b"\x81\xc9\x00\x01" + bytes(4), "rtcp_body"),
        (b"\x80\xc8\x00\x00", "rtcp_body"),
        (b"\x81\xca\x00\x01" + bytes(4), "rtcp_body"),
    ],
)
def test_bad_rtcp(packet: bytes, reason: str) -> None:
    """Each way to be malformed has its reason."""
    with pytest.raises(WireError, match=reason):
        rtcp.read(packet)


def test_ntp_time() -> None:
    """RFC 868's offset, and the middle bits in 1/65536 s."""
    assert rtcp.ntp_time(0) == 2_208_988_800 << 32
    assert rtcp.middle_32(rtcp.ntp_time(0.5)) == (2_208_988_800 & 0xFFFF) << 16 | 0x8000


@pytest.mark.parametrize(
    ("packet", "kind"),
    [
        (b"", PacketKind.OTHER),
        (b"\x00\x01", PacketKind.STUN),
        (b"\x03", PacketKind.STUN),
        (b"\x04", PacketKind.OTHER),
        (b"\x14", PacketKind.DTLS),
        (b"\x3f", PacketKind.DTLS),
        (b"\x40", PacketKind.OTHER),
        (b"\x80\x6f", PacketKind.RTP),
        (b"\x80\xef", PacketKind.RTP),
        (b"\x80\xc8", PacketKind.RTCP),
        (b"\x80\xdf", PacketKind.RTCP),
        (b"\x80", PacketKind.RTP),
        (b"\xbf\x00", PacketKind.RTP),
        (b"\xc0", PacketKind.OTHER),
    ],
)
def test_classify(packet: bytes, kind: PacketKind) -> None:
    """RFC 7983's table and RFC 5761's split, at their edges."""
    assert classify(packet) is kind


def test_a_compound_of_more_packets_than_anybody_sends_is_refused() -> None:
    """Empty packets are four bytes each; what reading them costs is bounded."""
    empty = bytes.fromhex("80cb0000")
    assert len(rtcp.read(empty * rtcp.MAX_PACKETS)) == rtcp.MAX_PACKETS
    with pytest.raises(WireError, match="rtcp_packets"):
        rtcp.read(empty * (rtcp.MAX_PACKETS + 1))


def test_a_source_has_one_name() -> None:
    """Of many CNAME items of one source the first counts (RFC 3550 §6.5.1)."""
    items = b"\x01\x01a" + b"\x01\x01b" * 100 + b"\x00"
    body = (7).to_bytes(4) + items + bytes(-len(items) % 4)
    packet = b"\x81\xca" + (len(body) // 4).to_bytes(2) + body
    assert rtcp.read(packet) == (rtcp.SourceDescription(7, "a"),)
