"""SRTP sessions made from the keys of one DTLS handshake."""

from __future__ import annotations

import struct

import pytest

from transceiver.transport.srtp import (
    AEAD_AES_128_GCM,
    AES128_CM_SHA1_80,
    MAX_STREAMS,
    PROFILES,
    REPLAY_WINDOW,
    SrtpKeys,
    SrtpProfile,
    SrtpSession,
)

both_profiles = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.dtls_name)


def pair(profile: SrtpProfile = AEAD_AES_128_GCM) -> tuple[SrtpSession, SrtpSession]:
    material = bytes(range(profile.export_length))
    client, server = profile.split(material)
    return (
        SrtpSession(SrtpKeys(profile, local=client, remote=server)),
        SrtpSession(SrtpKeys(profile, local=server, remote=client)),
    )


def rtp(sequence: int, ssrc: int = 0x1234, size: int = 160) -> bytes:
    return struct.pack("!BBHII", 0x80, 111, sequence, sequence * 960, ssrc) + bytes(size)


def receiver_report(ssrc: int) -> bytes:
    return struct.pack("!BBHI", 0x80, 201, 1, ssrc)


@both_profiles
def test_both_directions_open_what_the_other_protected(profile: SrtpProfile) -> None:
    """RTP and RTCP come through unchanged, in both directions, and are unreadable on the way."""
    ours, theirs = pair(profile)
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        packet, report = rtp(7), receiver_report(9)
        protected = sender.protect_rtp(packet)
        assert packet[12:] not in protected
        assert receiver.unprotect_rtp(protected) == packet
        assert receiver.unprotect_rtcp(sender.protect_rtcp(report)) == report


def test_the_export_is_cut_as_rfc_5764_says() -> None:
    """Client key, server key, client salt, server salt: each side's key meets its own salt."""
    material = b"C" * 16 + b"S" * 16 + b"c" * 14 + b"s" * 14
    assert AES128_CM_SHA1_80.split(material) == (b"C" * 16 + b"c" * 14, b"S" * 16 + b"s" * 14)


@both_profiles
def test_every_flipped_byte_is_refused(profile: SrtpProfile) -> None:
    """No altered packet opens; each is counted, and the true one still opens afterwards."""
    ours, theirs = pair(profile)
    protected = ours.protect_rtp(rtp(1, size=20))
    for at in range(len(protected)):
        forged = bytearray(protected)
        forged[at] ^= 1
        assert theirs.unprotect_rtp(bytes(forged)) is None
    assert theirs.dropped.total() == len(protected)
    assert theirs.unprotect_rtp(protected) == rtp(1, size=20)


def test_every_truncation_is_refused() -> None:
    """A packet cut anywhere gives None, for RTP and for RTCP."""
    ours, theirs = pair()
    protected, report = ours.protect_rtp(rtp(1)), ours.protect_rtcp(receiver_report(1))
    assert all(theirs.unprotect_rtp(protected[:end]) is None for end in range(len(protected)))
    assert all(theirs.unprotect_rtcp(report[:end]) is None for end in range(len(report)))


def test_a_packet_opens_once() -> None:
    """The second copy is a replay."""
    ours, theirs = pair()
    protected = ours.protect_rtp(rtp(1))
    assert theirs.unprotect_rtp(protected) is not None
    assert theirs.unprotect_rtp(protected) is None
    assert theirs.dropped == {"srtp_replay": 1}


def test_the_replay_window_is_1024_packets() -> None:
    """A packet may come 1023 late, and not 1024 late."""
    ours, theirs = pair()
    protected = [ours.protect_rtp(rtp(n)) for n in range(REPLAY_WINDOW + 1)]
    assert theirs.unprotect_rtp(protected[-1]) is not None
    assert theirs.unprotect_rtp(protected[1]) is not None
    assert theirs.unprotect_rtp(protected[0]) is None
    assert theirs.dropped == {"srtp_too_old": 1}


def test_the_sequence_number_wraps() -> None:
    """The roll-over counter follows on both sides."""
    ours, theirs = pair()
    for number in (65534, 65535, 0, 1):
        assert theirs.unprotect_rtp(ours.protect_rtp(rtp(number))) == rtp(number)


def test_an_overlong_packet_is_dropped() -> None:
    """More than the library's buffer is counted, not raised."""
    _, theirs = pair()
    assert theirs.unprotect_rtp(rtp(1, size=3000)) is None
    assert theirs.dropped == {"srtp_too_long": 1}


def test_streams_are_bounded() -> None:
    """One SSRC too many is refused; those that are known go on; forged ones take no place."""
    ours, theirs = pair()
    for ssrc in range(1000):
        assert theirs.unprotect_rtp(rtp(1, ssrc) + bytes(16)) is None
    for ssrc in range(MAX_STREAMS):
        assert theirs.unprotect_rtp(ours.protect_rtp(rtp(1, ssrc))) is not None
    theirs.dropped.clear()
    assert theirs.unprotect_rtp(ours.protect_rtp(rtp(1, MAX_STREAMS))) is None
    assert theirs.dropped == {"srtp_stream_limit": 1}
    assert theirs.unprotect_rtp(ours.protect_rtp(rtp(2, 0))) is not None


def test_keys_do_not_show() -> None:
    """Printing keys shows the profile only."""
    assert "secret" not in repr(SrtpKeys(AES128_CM_SHA1_80, b"secret" * 5, b"secret" * 5))
