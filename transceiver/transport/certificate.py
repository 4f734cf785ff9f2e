"""Our DTLS certificate, and how a peer's certificate is recognised.

One self-signed P-256 certificate a process, shared by all its calls, and one OpenSSL context
around it. WebRTC trusts no authority: the fingerprint in the SDP, which came over HTTPS, is the
whole identity (RFC 8827 §6.5, RFC 8122).
"""

from __future__ import annotations

import datetime
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL, crypto

from transceiver.transport.srtp import PROFILES

# RFC 8122 §5 in order of strength. sha-1 and md5 are not accepted from anyone.
_DIGESTS = {"sha-512": "sha512", "sha-384": "sha384", "sha-256": "sha256"}
_DIGEST_BYTES = {"sha-512": 64, "sha-384": 48, "sha-256": 32}

_DTLS_1_2 = 0xFEFD
_LIFETIME = datetime.timedelta(days=365)  # nobody checks it; a process does not live longer
# RFC 8827 §6.5 asks for the first. Only AES-GCM: what a takeover has to speak stays one shape.
# The RSA line serves a peer that is the DTLS server with an RSA certificate.
_CIPHERS = b":".join(
    (
        b"ECDHE-ECDSA-AES128-GCM-SHA256",
        b"ECDHE-ECDSA-AES256-GCM-SHA384",
        b"ECDHE-RSA-AES128-GCM-SHA256",
        b"ECDHE-RSA-AES256-GCM-SHA384",
    )
)


@dataclass(frozen=True)
class Fingerprint:
    """A hash of a certificate as SDP writes it: `sha-256` and colon-separated upper-case hex."""

    algorithm: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        """Read the value of `a=fingerprint:`. Raises ValueError for other hashes and bad hex."""
        algorithm, _, value = text.strip().partition(" ")
        algorithm, value = algorithm.lower(), value.strip().upper()
        size = _DIGEST_BYTES.get(algorithm)
        if size is None:
            raise ValueError("the fingerprint's hash must be sha-256, sha-384 or sha-512")
        if not re.fullmatch(f"[0-9A-F]{{2}}(:[0-9A-F]{{2}}){{{size - 1}}}", value):
            raise ValueError(f"a {algorithm} fingerprint is {size} colon-separated hex bytes")
        return cls(algorithm, value)

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value}"


class PeerIdentity:
    """Decides whether a certificate is the one the SDP promised; remembers the answer.

    Of several fingerprints the strongest hash decides, and any value of that hash may match: a
    peer may list one for each of its certificates (RFC 8122 §5.1). Raises ValueError for none.
    """

    def __init__(self, fingerprints: Sequence[Fingerprint]) -> None:
        offered = {fingerprint.algorithm for fingerprint in fingerprints}
        strongest = next((name for name in _DIGESTS if name in offered), None)
        if strongest is None:
            raise ValueError("no fingerprint with sha-256, sha-384 or sha-512")
        self._digest = _DIGESTS[strongest]
        self._values = {f.value for f in fingerprints if f.algorithm == strongest}
        self.matched: bool | None = None

    def check(self, certificate: crypto.X509) -> bool:
        """Whether `certificate` is the peer's."""
        self.matched = certificate.digest(self._digest).decode("ascii") in self._values
        return self.matched


class LocalCertificate:
    """Our key, its certificate, and the OpenSSL context of every association that uses them.

    The context is shared by both roles: building one takes 0.25 ms, half of what a handshake costs
    us, and nothing in it belongs to a call (session cache and tickets are off).
    """

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _self_signed(key)
        self.fingerprint = _fingerprint(certificate)
        self.context = _context(key, certificate)


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    # A random name, so that the certificate says nothing about us (RFC 8827 §6.5); a short one and
    # a short serial number, because the flight with it must fit what a new address may be sent.
    common_name = x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(4))
    name = x509.Name([common_name])
    now = datetime.datetime.now(tz=datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1 + secrets.randbits(62))
        .not_valid_before(now - datetime.timedelta(days=1))  # the peer's clock may be behind
        .not_valid_after(now + _LIFETIME)
        .sign(key, hashes.SHA256())
    )


def _fingerprint(certificate: x509.Certificate) -> Fingerprint:
    return Fingerprint("sha-256", certificate.fingerprint(hashes.SHA256()).hex(":").upper())


def _context(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(_DTLS_1_2)
    context.set_max_proto_version(_DTLS_1_2)
    context.set_options(
        SSL.OP_NO_TICKET
        | SSL.OP_NO_QUERY_MTU  # there is no socket to ask; the MTU is set on each connection
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    # A shared context would otherwise collect the sessions of all its calls.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(_CIPHERS)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    context.set_tlsext_use_srtp(":".join(p.dtls_name for p in PROFILES).encode("ascii"))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    return context


def _verify(
    connection: SSL.Connection, certificate: crypto.X509, _error: int, depth: int, _ok: int
) -> bool:
    """Judge the peer's own certificate by its fingerprint; what stands above it means nothing.

    Refusing here makes OpenSSL send the fatal alert that RFC 8122 §6.2 asks for, before the
    handshake can complete.
    """
    identity: PeerIdentity = connection.get_app_data()
    return depth > 0 or identity.check(certificate)
