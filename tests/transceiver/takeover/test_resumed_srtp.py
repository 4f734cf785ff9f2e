"""SRTP that goes on in another process, also after the sequence number has wrapped."""

from __future__ import annotations

import struct

import pytest

from transceiver.takeover.resumed_srtp import STEP, SrtpPosition, resumed
from transceiver.transport.srtp import PROFILES, SrtpKeys, SrtpProfile, SrtpSession, profile_named

OURS, THEIRS = 7, 9


def rtp(index: int, ssrc: int) -> bytes:
    return struct.pack("!BBHII", 0x80, 111, index & 0xFFFF, 0, ssrc) + b"voice"


def report(ssrc: int) -> bytes:
    return struct.pack("!BBHI", 0x80, 201, 1, ssrc)


def keys(profile: SrtpProfile) -> tuple[SrtpKeys, SrtpKeys]:
    client, server = profile.split(bytes(range(profile.export_length)))
    return SrtpKeys(profile, client, server), SrtpKeys(profile, server, client)


def conversation(profile: SrtpProfile, upto: int) -> tuple[SrtpSession, SrtpSession]:
    """Two sides that have exchanged packets up to an index, in steps, and five reports each."""
    ours, theirs = (SrtpSession(side) for side in keys(profile))
    for index in (*range(0, upto, STEP), upto):
        assert theirs.unprotect_rtp(ours.protect_rtp(rtp(index, OURS))) is not None
        assert ours.unprotect_rtp(theirs.protect_rtp(rtp(index, THEIRS))) is not None
    for _ in range(5):
        assert theirs.unprotect_rtcp(ours.protect_rtcp(report(OURS))) is not None
        assert ours.unprotect_rtcp(theirs.protect_rtcp(report(THEIRS))) is not None
    return ours, theirs


def position(session: SrtpSession, index: int, reserve: int = 0) -> SrtpPosition:
    ssrc, heard_rtcp = session.rtcp_heard
    return SrtpPosition(
        OURS, index + reserve, session.rtcp_sent + reserve, THEIRS, index, ssrc, heard_rtcp
    )


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.dtls_name)
@pytest.mark.parametrize("index", [0, 5, 0x7FFF, 0xFFFF, 0x1_0000, 0x1_FFFF, 5 * 0x1_0000 + 3])
@pytest.mark.parametrize("reserve", [0, 256])
def test_packets_go_on(profile: SrtpProfile, index: int, reserve: int) -> None:
    """From any roll-over counter, both directions, RTP and RTCP; old packets stay old."""
    ours, theirs = conversation(profile, index)
    old, old_report = (
        theirs.protect_rtp(rtp(index + 1, THEIRS)),
        theirs.protect_rtcp(report(THEIRS)),
    )
    assert ours.unprotect_rtp(old) is not None
    assert ours.unprotect_rtcp(old_report) is not None
    at = position(ours, index + 1, reserve)
    ours = resumed(keys(profile)[0], at)
    for following in range(index + 2, index + 5):
        sent = ours.protect_rtp(rtp(following + reserve, OURS))
        assert theirs.unprotect_rtp(sent) == rtp(following + reserve, OURS)
        assert ours.unprotect_rtp(theirs.protect_rtp(rtp(following, THEIRS))) is not None
        assert theirs.unprotect_rtcp(ours.protect_rtcp(report(OURS))) == report(OURS)
        assert ours.unprotect_rtcp(theirs.protect_rtcp(report(THEIRS))) is not None
    assert not ours.dropped
    assert ours.unprotect_rtp(old) is None
    assert ours.unprotect_rtcp(old_report) is None


def test_a_call_that_was_silent_both_ways() -> None:
    """With nothing sent or heard the session is a fresh one."""
    local, remote = keys(PROFILES[0])
    ours = resumed(local, SrtpPosition(OURS, None, 0, 0, None, 0, 0))
    theirs = SrtpSession(remote)
    assert theirs.unprotect_rtp(ours.protect_rtp(rtp(3, OURS))) == rtp(3, OURS)
    assert ours.unprotect_rtp(theirs.protect_rtp(rtp(60000, THEIRS))) is not None
    assert ours.rtcp_sent == 0


def test_profiles_are_known_by_name() -> None:
    """Both of ours, and no other."""
    assert [profile_named(profile.dtls_name) for profile in PROFILES] == list(PROFILES)
    with pytest.raises(ValueError, match="not one of ours"):
        profile_named("SRTP_NULL_SHA1_80")
