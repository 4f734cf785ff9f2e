"""SRTP and SRTCP of one call: the keys DTLS agreed on, and the session that uses them (RFC 3711).

Measured with pylibsrtp 1.0 on a 160-byte payload, protect + unprotect of one packet:
AEAD_AES_128_GCM 3.6 µs, AES128_CM_SHA1_80 4.2 µs (about 0.5 µs of both is Python around the
library). GCM's tag is 6 bytes longer. At 50 packets a second each way the CPU is worth more to us
than the 2.4 kb/s, so GCM is offered first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pylibsrtp

REPLAY_WINDOW = 1024  # packets; 20 s of audio, so a late packet is the jitter buffer's to judge
MAX_STREAMS = 64  # SSRCs one peer may open: libsrtp keeps a context, and a key schedule, for each

_REASONS = {
    "authentication failure": "srtp_authentication",
    "replay check failed (bad index)": "srtp_replay",
    "replay check failed (index too old)": "srtp_too_old",
    "packet index is too old to consider": "srtp_too_old",
}


@dataclass(frozen=True)
class SrtpProfile:
    """A DTLS-SRTP protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2); lengths in bytes."""

    dtls_name: str  # what OpenSSL calls it
    libsrtp_profile: int
    key_length: int
    salt_length: int

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
    "SRTP_AEAD_AES_128_GCM", pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12
)
AES128_CM_SHA1_80 = SrtpProfile(
    "SRTP_AES128_CM_SHA1_80", pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14
)
# In order of preference. RFC 8827 §6.5 makes the second mandatory.
PROFILES = (AEAD_AES_128_GCM, AES128_CM_SHA1_80)


@dataclass(frozen=True)
class SrtpKeys:
    """Master key ‖ master salt of both directions; `local` is what we send with."""

    profile: SrtpProfile
    local: bytes = field(repr=False)
    remote: bytes = field(repr=False)


class SrtpSession:
    """Protects what we send and opens what we receive, for every SSRC of one call.

    Packets are `bytes` of at most 1,356 (the library's buffer less its largest trailer).
    Opening never raises: a packet that cannot be opened gives None and counts a reason in
    `dropped`. Protecting raises pylibsrtp.Error when the sequence number was used before, and
    ValueError for a packet too long: both are faults of the sender's own code.
    """

    def __init__(self, keys: SrtpKeys) -> None:
        self.dropped: Counter[str] = Counter()
        self._streams: set[bytes] = set()  # SSRCs that libsrtp holds a context for, as bytes
        self._inbound = _session(keys.profile, keys.remote, pylibsrtp.Policy.SSRC_ANY_INBOUND)
        outbound = _session(keys.profile, keys.local, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        # Bound methods: a call less for every packet.
        self._unprotect_rtp: _Transform = self._inbound.unprotect
        self._unprotect_rtcp: _Transform = self._inbound.unprotect_rtcp
        self.protect_rtp: _Transform = outbound.protect
        self.protect_rtcp: _Transform = outbound.protect_rtcp

    def unprotect_rtp(self, packet: bytes) -> bytes | None:
        """The RTP packet inside `packet`, or None."""
        return self._open(self._unprotect_rtp, packet, packet[8:12])

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """The RTCP compound inside `packet`, or None."""
        return self._open(self._unprotect_rtcp, packet, packet[4:8])

    def _open(self, transform: _Transform, packet: bytes, ssrc: bytes) -> bytes | None:
        known = ssrc in self._streams
        if not known and len(self._streams) >= MAX_STREAMS:
            self.dropped["srtp_stream_limit"] += 1
            return None
        try:
            opened = transform(packet)
        except pylibsrtp.Error as error:
            self.dropped[_REASONS.get(str(error), "srtp_malformed")] += 1
            return None
        except ValueError:
            self.dropped["srtp_too_long"] += 1
            return None
        if not known:  # only an authentic packet makes libsrtp keep a stream
            self._streams.add(ssrc)
        return opened


_Transform = Callable[[bytes], bytes]


def _session(profile: SrtpProfile, key: bytes, ssrc_type: int) -> pylibsrtp.Session:
    policy = pylibsrtp.Policy(key=key, ssrc_type=ssrc_type, srtp_profile=profile.libsrtp_profile)
    policy.window_size = REPLAY_WINDOW
    return pylibsrtp.Session(policy)
