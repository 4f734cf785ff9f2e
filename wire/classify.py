"""Tells by its first byte what a datagram on a WebRTC port is (RFC 7983 §7, RFC 9443 §3)."""

from __future__ import annotations

from enum import Enum


class PacketKind(Enum):
    """The protocols that share one port."""

    STUN = "stun"
    DTLS = "dtls"
    RTP = "rtp"
    RTCP = "rtcp"
    OTHER = "other"


# Python 3.11 takes 0.1 µs to look up a member of an Enum; this runs for every packet.
_STUN, _DTLS, _RTP, _RTCP, _OTHER = PacketKind


def classify(packet: bytes) -> PacketKind:
    """The kind of `packet`; an empty one is OTHER."""
    if not packet:
        return _OTHER
    first = packet[0]
    if 128 <= first <= 191:
        # RFC 5761 §4: with RTP and RTCP on one port, the second byte of RTCP is 192–223.
        is_rtcp = len(packet) > 1 and 192 <= packet[1] <= 223
        return _RTCP if is_rtcp else _RTP
    if first <= 3:
        return _STUN
    if 20 <= first <= 63:
        return _DTLS
    return _OTHER
