"""The parts of a caller's SDP offer that a session needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Fingerprint:
    """Digest of a certificate (RFC 8122): algorithm in lower case, value as colon-separated hex."""

    algorithm: str
    value: str


@dataclass(frozen=True)
class OpusWishes:
    """How the caller wants to be spoken to: its `a=fmtp` for Opus (RFC 7587 §6.1)."""

    max_average_bps: int = 0  # 0: not said
    max_playback_hz: int = 48_000
    fec: bool = False
    dtx: bool = False


@dataclass(frozen=True)
class AudioOffer:
    """The audio section: which Opus payload type to use, and which way sound may flow."""

    mid: str
    payload_type: int
    ssrc: int | None  # the caller's, when the offer names it
    receives: bool  # the caller wants to hear us
    sends: bool  # the caller will speak
    red_payload_type: int | None = None  # of audio/red over that Opus (RFC 2198), when offered
    wishes: OpusWishes = OpusWishes()


@dataclass(frozen=True)
class DataOffer:
    """The data-channel section (RFC 8841)."""

    mid: str
    sctp_port: int
    max_message_size: int  # bytes; 0 means no limit


@dataclass(frozen=True)
class Offer:
    """A whole offer, checked: BUNDLE, rtcp-mux, one ICE and one DTLS identity."""

    ufrag: str = field(repr=False)
    password: str = field(repr=False)
    fingerprints: tuple[Fingerprint, ...]
    dtls_role: Literal["client", "server"]  # ours, chosen from the caller's a=setup
    audio: AudioOffer
    data: DataOffer | None
    mids: tuple[str, ...]  # of all sections, in order, also those we reject
