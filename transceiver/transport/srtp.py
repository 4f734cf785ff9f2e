"""SRTP and SRTCP of one call, with the keys that DTLS agreed on (RFC 3711).

Measured on an 80-byte payload, protect + unprotect of one packet: AEAD_AES_128_GCM 3.8 µs,
AES128_CM_SHA1_80 4.6 µs (0.6 µs of each half is the call into the library). GCM's tag is 6 bytes
longer. At 50 packets a second each way the CPU is worth more to us than the 2.4 kb/s, so GCM is
offered first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pylibsrtp
from pylibsrtp._binding import ffi, lib

from transceiver.counters import Counted
from transceiver.takeover.session_state import SrtpPart

REPLAY_WINDOW = 1024  # packets; 20 s of audio, so a late packet is the jitter buffer's to judge
MAX_PACKET_BYTES = 1356  # more than a path carries
# SRTP_MAX_TAG_LEN, SRTP_MAX_MKI_LEN and the index of SRTCP: what libsrtp may write behind a packet.
MAX_TRAILER_BYTES = 16 + 128 + 4
MAX_STREAMS = 64  # SSRCs one peer may open: libsrtp keeps a context, and a key schedule, for each

# libsrtp's statuses (srtp_err_status_t) that mean something to an operator.
_REASONS = {
    7: Counted.SRTP_AUTHENTICATION,
    9: Counted.SRTP_REPLAY,
    10: Counted.SRTP_TOO_OLD,
    26: Counted.SRTP_TOO_OLD,
}


@dataclass(frozen=True)
class SrtpProfile:
    """A DTLS-SRTP protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2); lengths in bytes."""

    dtls_name: str  # what OpenSSL calls it
    libsrtp_profile: int
    key_length: int
    salt_length: int
    rtcp_tag_length: int  # of what follows the index in an SRTCP packet

    def split(self, material: bytes) -> tuple[bytes, bytes]:
        """The client's and the server's key ‖ salt, cut as RFC 5764 §4.2 lays the export out."""
        key, salt = self.key_length, self.salt_length
        client_salt = material[2 * key : 2 * key + salt]
        server_salt = material[2 * key + salt : self.export_length]
        return material[:key] + client_salt, material[key : 2 * key] + server_salt

    @property
    def export_length(self) -> int:
        """Bytes of keying material to export for both directions."""
        return 2 * (self.key_length + self.salt_length)


AEAD_AES_128_GCM = SrtpProfile(
    "SRTP_AEAD_AES_128_GCM", pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12, 0
)
AES128_CM_SHA1_80 = SrtpProfile(
    "SRTP_AES128_CM_SHA1_80", pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14, 10
)
# In order of preference. RFC 8827 §6.5 makes the second mandatory.
PROFILES = (AEAD_AES_128_GCM, AES128_CM_SHA1_80)


def profile_named(dtls_name: str) -> SrtpProfile:
    """The profile that OpenSSL calls so. Raises ValueError for one we do not know."""
    for profile in PROFILES:
        if profile.dtls_name == dtls_name:
            return profile
    raise ValueError("the SRTP profile is not one of ours")


@dataclass(frozen=True)
class SrtpKeys:
    """Master key ‖ master salt of both directions; `local` is what we send with."""

    profile: SrtpProfile
    local: bytes = field(repr=False)
    remote: bytes = field(repr=False)


# For the path of every packet: a name of this module is found sooner than one of the library.
_srtp_protect, _srtp_unprotect = lib.srtp_protect, lib.srtp_unprotect


class SrtpSession:
    """Protects what we send and opens what we receive, for every SSRC of one call.

    Packets are `bytes` of at most `MAX_PACKET_BYTES`. Opening never raises: a packet that cannot be
    opened gives None and counts a reason in `dropped`. Protecting raises pylibsrtp.Error when the
    sequence number was used before, and ValueError for a packet too long: both are faults of the
    sender's own code. One thread may use a session at a time.

    libsrtp is called directly and works in place, in memory that lives as long as the session:
    pylibsrtp's own `protect` and `unprotect` allocate for each packet and cost 1 µs more.
    """

    def __init__(self, keys: SrtpKeys) -> None:
        self.dropped: Counter[str] = Counter()
        self._keys = keys
        self.rtcp_sent = 0  # also the SRTCP index of the last (RFC 3711 §3.2.1)
        self.rtcp_heard: tuple[int, int] = (0, 0)  # SSRC and highest SRTCP index that opened
        self._index_end = -keys.profile.rtcp_tag_length or None
        self._streams: set[bytes] = set()  # SSRCs that libsrtp holds a context for, as bytes
        self._sessions = (
            _session(keys.profile, keys.remote, pylibsrtp.Policy.SSRC_ANY_INBOUND),
            _session(keys.profile, keys.local, pylibsrtp.Policy.SSRC_ANY_OUTBOUND),
        )
        # What the C functions take: valid while `_sessions` lives.
        self._inbound, self._outbound = (session._srtp[0] for session in self._sessions)
        self._memory = ffi.new("char[]", MAX_PACKET_BYTES + MAX_TRAILER_BYTES)
        self._bytes = ffi.buffer(self._memory)
        self._length = ffi.new("int *")

    def export(self) -> SrtpPart:
        """Keys and SRTCP indexes; those of SRTP follow from the streams' sequence numbers."""
        keys = self._keys
        ssrc, index = self.rtcp_heard
        return SrtpPart(
            keys.profile.dtls_name, keys.local, keys.remote, self.rtcp_sent, index, ssrc
        )

    def protect_rtp(self, packet: bytes) -> bytes:
        """`packet` as SRTP."""
        return self._protect(_srtp_protect, packet)

    def protect_rtcp(self, packet: bytes) -> bytes:
        """The compound `packet` as SRTCP."""
        protected = self._protect(lib.srtp_protect_rtcp, packet)
        self.rtcp_sent += 1
        return protected

    def unprotect_rtp(self, packet: bytes) -> bytes | None:
        """The RTP packet inside `packet`, or None."""
        size, ssrc = len(packet), packet[8:12]
        if size > MAX_PACKET_BYTES or ssrc not in self._streams:
            return self._open(_srtp_unprotect, packet, ssrc)
        # As `_open`, without the call: this is the path of every packet.
        length, memory = self._length, self._bytes
        memory[0:size] = packet
        length[0] = size
        status = _srtp_unprotect(self._inbound, self._memory, length)
        if status:
            self.dropped[_REASONS.get(status, Counted.SRTP_MALFORMED)] += 1
            return None
        opened: bytes = memory[0 : length[0]]
        return opened

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """The RTCP compound inside `packet`, or None."""
        opened = self._open(lib.srtp_unprotect_rtcp, packet, packet[4:8])
        if opened is not None:
            # The index stands in clear, below the E bit, before the tag (GCM's tag is before it).
            index = int.from_bytes(packet[: self._index_end][-4:]) & 0x7FFF_FFFF
            self.rtcp_heard = (int.from_bytes(packet[4:8]), max(index, self.rtcp_heard[1]))
        return opened

    def _protect(self, transform: _Transform, packet: bytes) -> bytes:
        size = len(packet)
        if size > MAX_PACKET_BYTES:
            raise ValueError(f"{size} bytes are more than SRTP takes here")
        length, memory = self._length, self._bytes
        memory[0:size] = packet
        length[0] = size
        status = transform(self._outbound, self._memory, length)
        if status:
            raise pylibsrtp.Error(pylibsrtp.ERRORS[status])
        protected: bytes = memory[0 : length[0]]
        return protected

    def _open(self, transform: _Transform, packet: bytes, ssrc: bytes) -> bytes | None:
        known = ssrc in self._streams
        if not known and len(self._streams) >= MAX_STREAMS:
            self.dropped[Counted.SRTP_STREAM_LIMIT] += 1
            return None
        size = len(packet)
        if size > MAX_PACKET_BYTES:
            self.dropped[Counted.SRTP_TOO_LONG] += 1
            return None
        length, memory = self._length, self._bytes
        memory[0:size] = packet
        length[0] = size
        status = transform(self._inbound, self._memory, length)
        if status:
            self.dropped[_REASONS.get(status, Counted.SRTP_MALFORMED)] += 1
            return None
        if not known:  # only an authentic packet makes libsrtp keep a stream
            self._streams.add(ssrc)
        opened: bytes = memory[0 : length[0]]
        return opened


# (session, packet in place, length in and out) → srtp_err_status_t
_Transform = Callable[[Any, Any, Any], int]


def _session(profile: SrtpProfile, key: bytes, ssrc_type: int) -> pylibsrtp.Session:
    policy = pylibsrtp.Policy(key=key, ssrc_type=ssrc_type, srtp_profile=profile.libsrtp_profile)
    policy.window_size = REPLAY_WINDOW
    return pylibsrtp.Session(policy)
