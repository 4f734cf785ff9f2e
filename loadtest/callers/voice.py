"""The RTP stream of one synthetic caller: packets protected ahead of time, echoes matched later."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from pylibsrtp import Error as SrtpError
from pylibsrtp import Session

from loadtest.callers.sdp import OPUS_PAYLOAD_TYPE
from loadtest.sound import FRAME_SAMPLES
from wire import rtp

HALF = 1 << 15


class Voice:
    """Numbers and protects what a caller says, and numbers what it hears by RTP sequence.

    Echo n (from 0) is the other side's n-th packet, wherever its random first number was.
    """

    def __init__(self, outgoing: Session, incoming: Session, ssrc: int) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._ssrc = ssrc
        # RFC 3711 section 3.3.1: in the lower half, so that the first packets do not wrap.
        self._sequence = secrets.randbits(15)
        self._highest: int | None = None
        self._first = 0
        self.sent = 0
        self.heard = 0

    def say(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Protect the next packets, 20 ms of RTP time each."""
        packets = [self._protect(self.sent + index, body) for index, body in enumerate(payloads)]
        self.sent += len(packets)
        return packets

    def number(self, packet: bytes) -> int:
        """Which echo a protected packet is; its header is in the clear (RFC 3711 section 3.1)."""
        sequence = packet[2] << 8 | packet[3]
        if self._highest is None:
            self._highest = self._first = sequence
        behind = (self._highest - sequence) & 0xFFFF
        if behind >= HALF:  # ahead of all before
            self._highest += 0x10000 - behind
            return self._highest - self._first
        return self._highest - behind - self._first

    def open(self, packet: bytes) -> bytes | None:
        """Return the payload of an echo; None when it is not authentic or was opened before."""
        try:
            return rtp.read(self._incoming.unprotect(packet)).payload
        except SrtpError:
            return None

    def protect(self, packet: bytes) -> bytes:
        """Protect an RTP packet of the caller's own making."""
        return self._outgoing.protect(packet)

    def protect_rtcp(self, packet: bytes) -> bytes:
        """Protect an RTCP packet of the caller's own making."""
        return self._outgoing.protect_rtcp(packet)

    def _protect(self, index: int, payload: bytes) -> bytes:
        return self._outgoing.protect(
            rtp.write(
                OPUS_PAYLOAD_TYPE,
                index == 0,
                (self._sequence + index) & 0xFFFF,
                index * FRAME_SAMPLES & 0xFFFF_FFFF,
                self._ssrc,
                payload,
            )
        )
