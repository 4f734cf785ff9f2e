"""Which SDP offers are accepted, and what a session needs of them.

    SDP text ── sdp_sections.cut ─▶ sections ── these rules ─▶ CheckedOffer │ OfferRefused

The rules, in the order in which they are checked; each has its code:

    too_large          more than 64 KiB, or more than 4,096 lines
    not_sdp            does not begin with v=0, or a line we need cannot be read
    too_many_sections  more than 32 m= sections
    no_mid, bad_mid    a section without a=mid; a mid twice, too long or not a token (RFC 5888 §4)
    no_audio           no enabled audio section over DTLS-SRTP
    no_opus            no audio section offers opus/48000/2 (RFC 7587 §7)
    no_bundle          the audio section is not in a BUNDLE group, or sections of the group have
                       transports of their own (RFC 9143; one call is one 5-tuple here)
    no_rtcp_mux        the audio section lacks a=rtcp-mux (RFC 8834 §4.5)
    ice_lite           the caller is ICE-lite as we are, so nobody would send checks
    no_ice_credentials, bad_ice_credentials   RFC 8839 §5.4
    no_fingerprint, bad_fingerprint           RFC 8122 §5; SHA-256, SHA-384 and SHA-512 are taken
    bad_setup          a=setup missing or holdconn (RFC 8842 §5)

Sections we have no use for (video, a second audio section) are rejected one by one in the answer,
and the call goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from transceiver.call.offer import AudioOffer, DataOffer, Fingerprint, Offer
from transceiver.signaling import audio_formats
from transceiver.signaling.audio_formats import UnreadableMapping
from transceiver.signaling.sdp_sections import MAX_LINES, MediaLine, Section, cut

MAX_OFFER_BYTES = 64 * 1024
MAX_SECTIONS = 32
MAX_MID_CHARS = 32
MAX_FINGERPRINTS = 8
DEFAULT_SCTP_PORT = 5000
DEFAULT_MAX_MESSAGE_BYTES = 65536  # RFC 8841 §6.1, when the offer does not say
MAX_SSRC = 0xFFFF_FFFF
MAX_PORT = 0xFFFF

_MID = re.compile(rf"[A-Za-z0-9!#$%&'*+.^_`{{|}}~-]{{1,{MAX_MID_CHARS}}}")
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_DIGEST = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2})*")
_DIGEST_BYTES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_AUDIO_PROTOCOLS = {"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "TCP/DTLS/RTP/SAVPF"}
_DATA_PROTOCOLS = {"UDP/DTLS/SCTP", "TCP/DTLS/SCTP"}
_DIRECTIONS = {"sendrecv", "sendonly", "recvonly", "inactive"}
_SSRC = re.compile(r"([0-9]{1,10})(?: .*)?")
_NUMBER = re.compile(r"[0-9]{1,10}")
# The caller's a=setup → our role. To `actpass` we are the client: it saves half a round trip, and
# a ClientHello flood cannot reach us.
_ROLES: dict[str, Literal["client", "server"]] = {
    "actpass": "client",
    "passive": "client",
    "active": "server",
}


class OfferRefused(Exception):  # noqa: N818 - a verdict, not a mistake of ours
    """An offer we do not take: a stable `code` (see above) and a `detail` for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class CheckedOffer:
    """An offer we take: what the session needs, and the `m=` lines the answer must mirror.

    `sections` and `offer.mids` have the same length and order.
    """

    offer: Offer
    sections: tuple[MediaLine, ...]


@dataclass(frozen=True)
class _Media:
    mid: str
    line: MediaLine
    section: Section

    @property
    def enabled(self) -> bool:
        """Port 0 rejects a section unless it is bundle-only (RFC 9143 §6)."""
        return self.line.port != 0 or self.section.has("bundle-only")


def read_offer(text: str) -> CheckedOffer:
    """The offer in an SDP text. Raises OfferRefused, and nothing else whatever the text."""
    if len(text) > MAX_OFFER_BYTES:
        raise OfferRefused("too_large", f"An offer may have {MAX_OFFER_BYTES} bytes.")
    if len(text.splitlines()) > MAX_LINES:
        raise OfferRefused("too_large", f"An offer may have {MAX_LINES} lines.")
    session, media = _sections(text)
    audio, opus = _choose_audio(media)
    bundle = _bundle(session, media, audio)
    identity = _identity(session, _tagged(bundle, audio), bundle)
    data = next((m for m in bundle if m.enabled and _is_data(m)), None)
    offer = Offer(
        ufrag=identity.ufrag,
        password=identity.password,
        fingerprints=identity.fingerprints,
        dtls_role=identity.dtls_role,
        audio=_audio_offer(session, audio, opus),
        data=_data_offer(data) if data else None,
        mids=tuple(m.mid for m in media),
    )
    return CheckedOffer(offer, tuple(m.line for m in media))


def _sections(text: str) -> tuple[Section, list[_Media]]:
    parts = cut(text)
    if parts is None:
        raise OfferRefused("not_sdp", "The body does not begin with v=0; it is no SDP.")
    session, sections = parts
    if len(sections) > MAX_SECTIONS:
        raise OfferRefused("too_many_sections", f"An offer may have {MAX_SECTIONS} m= sections.")
    media = [_media(section) for section in sections]
    if len({m.mid for m in media}) != len(media):
        raise OfferRefused("bad_mid", "Two sections have the same a=mid.")
    return session, media


def _media(section: Section) -> _Media:
    line = section.media_line()
    if line is None:
        raise OfferRefused("not_sdp", "An m= line cannot be read.")
    mid = section.first("mid")
    if mid is None:
        raise OfferRefused("no_mid", "Every m= section needs an a=mid line.")
    if not _MID.fullmatch(mid):
        raise OfferRefused("bad_mid", f"a=mid is a token of 1 to {MAX_MID_CHARS} characters.")
    return _Media(mid, line, section)


def _choose_audio(media: Sequence[_Media]) -> tuple[_Media, int]:
    sections = [m for m in media if m.enabled and m.line.kind == "audio"]
    if not any(m.line.protocol in _AUDIO_PROTOCOLS for m in sections):
        raise OfferRefused("no_audio", "The offer has no audio section over UDP/TLS/RTP/SAVPF.")
    for m in sections:
        payload_type = _opus(m) if m.line.protocol in _AUDIO_PROTOCOLS else None
        if payload_type is not None:
            return m, payload_type
    raise OfferRefused("no_opus", "No audio section offers opus/48000/2.")


def _opus(m: _Media) -> int | None:
    try:
        return audio_formats.opus_payload_type(m.section, m.line)
    except UnreadableMapping:
        raise OfferRefused("not_sdp", "An a=rtpmap of the audio section cannot be read.") from None


def _bundle(session: Section, media: Sequence[_Media], audio: _Media) -> list[_Media]:
    """The sections of the BUNDLE group that holds the audio section, in the group's order."""
    by_mid = {m.mid: m for m in media}
    for group in session.values("group"):
        semantics, mids = group.split()[:1], group.split()[1:]
        if semantics == ["BUNDLE"] and audio.mid in mids:
            return [by_mid[mid] for mid in dict.fromkeys(mids) if mid in by_mid]
    raise OfferRefused("no_bundle", "The audio section must be in a BUNDLE group (a=group).")


def _tagged(bundle: Iterable[_Media], audio: _Media) -> _Media:
    # RFC 9143 §7.2.1: the first section of the group with a port carries the transport for all.
    return next((m for m in bundle if m.line.port != 0), audio)


@dataclass(frozen=True)
class _Identity:
    ufrag: str = field(repr=False)
    password: str = field(repr=False)
    fingerprints: tuple[Fingerprint, ...]
    dtls_role: Literal["client", "server"]


def _identity(session: Section, tagged: _Media, bundle: Sequence[_Media]) -> _Identity:
    if session.has("ice-lite"):
        raise OfferRefused("ice_lite", "Both sides would be ICE-lite; the caller must send checks.")
    ufrag, password = _ice_credentials(session, tagged.section)
    fingerprints = _fingerprints(tagged.section) or _fingerprints(session)
    for m in bundle:
        _check_same_transport(m.section, ufrag, password, fingerprints)
    if not fingerprints:
        raise OfferRefused("no_fingerprint", "The offer has no a=fingerprint.")
    return _Identity(ufrag, password, fingerprints, _dtls_role(session, tagged.section))


def _ice_credentials(session: Section, section: Section) -> tuple[str, str]:
    ufrag = section.first("ice-ufrag") or session.first("ice-ufrag")
    password = section.first("ice-pwd") or session.first("ice-pwd")
    if not ufrag or not password:
        raise OfferRefused("no_ice_credentials", "The offer has no a=ice-ufrag or no a=ice-pwd.")
    if not are_ice_credentials(ufrag, password):
        detail = "a=ice-ufrag has 4 to 256 and a=ice-pwd 22 to 256 letters, digits, + or /."
        raise OfferRefused("bad_ice_credentials", detail)
    return ufrag, password


def are_ice_credentials(ufrag: str, password: str) -> bool:
    """Whether both have the length and the characters of RFC 8839 §5.4."""
    return bool(_UFRAG.fullmatch(ufrag) and _PASSWORD.fullmatch(password))


def _fingerprints(section: Section) -> tuple[Fingerprint, ...]:
    values = section.values("fingerprint")
    if len(values) > MAX_FINGERPRINTS:
        raise OfferRefused("bad_fingerprint", f"At most {MAX_FINGERPRINTS} fingerprints.")
    read = tuple(f for f in map(_fingerprint, values) if f)
    if values and not read:
        detail = "No fingerprint uses SHA-256, SHA-384 or SHA-512."
        raise OfferRefused("bad_fingerprint", detail)
    return read


def _fingerprint(value: str) -> Fingerprint | None:
    """The fingerprint in an attribute, or None when we do not take its hash."""
    algorithm, _, digest = value.partition(" ")
    algorithm, digest = algorithm.lower(), digest.strip().upper()
    length = _DIGEST_BYTES.get(algorithm)
    if length is None:
        return None
    if not _DIGEST.fullmatch(digest) or len(digest) != length * 3 - 1:
        detail = f"A fingerprint of {algorithm} is {length} hex pairs separated by colons."
        raise OfferRefused("bad_fingerprint", detail)
    return Fingerprint(algorithm, digest)


def _check_same_transport(
    section: Section, ufrag: str, password: str, fingerprints: tuple[Fingerprint, ...]
) -> None:
    # A section that is not tagged may leave these out, but may not say something else.
    same_ice = section.first("ice-ufrag") in (None, ufrag)
    same_ice = same_ice and section.first("ice-pwd") in (None, password)
    if not same_ice or _fingerprints(section) not in ((), fingerprints):
        detail = "The sections of the BUNDLE group have different ICE or DTLS identities."
        raise OfferRefused("no_bundle", detail)


def _dtls_role(session: Section, section: Section) -> Literal["client", "server"]:
    role = _ROLES.get(section.first("setup") or session.first("setup") or "")
    if role is None:
        raise OfferRefused("bad_setup", "a=setup must be actpass, active or passive.")
    return role


def _audio_offer(session: Section, audio: _Media, payload_type: int) -> AudioOffer:
    if not audio.section.has("rtcp-mux"):
        raise OfferRefused("no_rtcp_mux", "The audio section needs a=rtcp-mux.")
    direction = _direction(audio.section) or _direction(session) or "sendrecv"
    return AudioOffer(
        mid=audio.mid,
        payload_type=payload_type,
        ssrc=_ssrc(audio.section),
        receives=direction in ("sendrecv", "recvonly"),
        sends=direction in ("sendrecv", "sendonly"),
        red_payload_type=audio_formats.red_payload_type(audio.section, audio.line, payload_type),
        wishes=audio_formats.opus_wishes(audio.section, payload_type),
    )


def _ssrc(section: Section) -> int | None:
    """The source that the section names first (RFC 5576 §4.1)."""
    value = section.first("ssrc")
    if value is None:
        return None
    found = _SSRC.fullmatch(value)
    if not found or int(found[1]) > MAX_SSRC:
        raise OfferRefused("not_sdp", "An a=ssrc line cannot be read.")
    return int(found[1])


def _direction(section: Section) -> str | None:
    return next((name for name in section.properties if name in _DIRECTIONS), None)


def _is_data(m: _Media) -> bool:
    kind = m.line.kind, m.line.formats
    return kind == ("application", "webrtc-datachannel") and m.line.protocol in _DATA_PROTOCOLS


def _data_offer(m: _Media) -> DataOffer:
    port = _number(m.section, "sctp-port", DEFAULT_SCTP_PORT)
    if not 1 <= port <= MAX_PORT:
        raise OfferRefused("not_sdp", "a=sctp-port is out of range.")
    return DataOffer(m.mid, port, _number(m.section, "max-message-size", DEFAULT_MAX_MESSAGE_BYTES))


def _number(section: Section, name: str, otherwise: int) -> int:
    text = section.first(name)
    if text is None:
        return otherwise
    if not _NUMBER.fullmatch(text):
        raise OfferRefused("not_sdp", f"a={name} is no number of up to ten digits.")
    return int(text)
