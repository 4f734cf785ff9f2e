"""Goes on with an SRTP session where another process stopped.

libsrtp keeps an index for each stream, roll-over counter ‖ sequence number, and pylibsrtp binds no
function that sets it. But an index follows the packets: a fresh session that has worked on packets
with rising numbers is where the old one was. Three throw-away packets a wrap are enough (numbers
may rise by less than 2^15 at a time, RFC 3711 §3.3.1), 1 ms for a day of speech; they never leave.

SRTCP's index rises by one with each packet and is written in it, so as many throw-away reports are
made as were sent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from transceiver.takeover.session_state import AudioState, Reserve
from transceiver.transport.srtp import SrtpKeys, SrtpSession, profile_named

STEP = 0x6000

_RTP = struct.Struct("!BBHII")
_RTCP = struct.Struct("!BBHI")


@dataclass(frozen=True)
class SrtpPosition:
    """Where both directions are. Indexes are those of the last packet; None: there was none.

    `sent_rtcp` and `heard_rtcp` count from 1; 0: there was none.
    """

    sent_ssrc: int
    sent: int | None
    sent_rtcp: int
    heard_ssrc: int
    heard: int | None
    heard_rtcp_ssrc: int
    heard_rtcp: int


def resumed_srtp(state: AudioState, reserve: Reserve) -> SrtpSession:
    """The session of an exported stream. Raises ValueError for a profile we do not know."""
    part, send, heard = state.srtp, state.send, state.heard
    position = SrtpPosition(
        sent_ssrc=send.ssrc,
        sent=send.sequence + reserve.rtp_packets - 1 if send.packets else None,
        sent_rtcp=part.rtcp_sent + reserve.rtcp_packets,
        heard_ssrc=heard.ssrc if heard else 0,
        heard=heard.highest if heard else None,
        heard_rtcp_ssrc=part.rtcp_ssrc,
        heard_rtcp=part.rtcp_heard,
    )
    return resumed(SrtpKeys(profile_named(part.profile), part.local, part.remote), position)


def resumed(keys: SrtpKeys, at: SrtpPosition) -> SrtpSession:
    """A session whose next packets continue those up to `at`."""
    session = SrtpSession(keys)
    if at.sent is not None:
        for packet in _rtp_up_to(at.sent, at.sent_ssrc):
            session.protect_rtp(packet)
    for packet in _reports(at.sent_rtcp, at.sent_ssrc):
        session.protect_rtcp(packet)
    _hear_again(session, SrtpSession(SrtpKeys(keys.profile, keys.remote, keys.local)), at)
    return session


def _hear_again(session: SrtpSession, peer: SrtpSession, at: SrtpPosition) -> None:
    """Let `session` receive from `peer`, which has the caller's key, up to the position."""
    if at.heard is not None:
        for packet in _rtp_up_to(at.heard, at.heard_ssrc):
            session.unprotect_rtp(peer.protect_rtp(packet))
    report = b""
    for packet in _reports(at.heard_rtcp, at.heard_rtcp_ssrc):
        report = peer.protect_rtcp(packet)
    if report:
        session.unprotect_rtcp(report)


def _rtp_up_to(index: int, ssrc: int) -> Iterator[bytes]:
    for at in (*range(0, index, STEP), index):
        yield _RTP.pack(0x80, 0, at & 0xFFFF, 0, ssrc)


def _reports(count: int, ssrc: int) -> Iterator[bytes]:
    report = _RTCP.pack(0x80, 201, 1, ssrc)
    for _ in range(count):
        yield report
