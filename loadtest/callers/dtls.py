"""DTLS 1.2 for the light caller: datagrams in, datagrams out; SRTP keys at the end."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from pylibsrtp import Policy, Session

from loadtest.errors import CallFailedError

MTU_BYTES = 1200
MAX_RECORD_BYTES = 16384
RECORD_HEADER_BYTES = 13  # RFC 6347 section 4.1
KEY_BYTES, SALT_BYTES = 16, 14  # RFC 5764 section 4.1.2: SRTP_AES128_CM_HMAC_SHA1_80


@dataclass(frozen=True)
class Identity:
    """A key and its certificate, shared by many calls: making it costs as much as a call."""

    context: SSL.Context
    fingerprint: str

    @classmethod
    def make(cls) -> Identity:
        """Make a fresh self-signed P-256 certificate, as browsers do."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _self_signed(key)
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU)
        context.set_verify(
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True
        )  # the fingerprint decides, not a chain (RFC 5763 section 5)
        context.use_certificate(certificate)
        context.use_privatekey(key)
        context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80")
        return cls(context, fingerprint(certificate))


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 fingerprint as SDP writes it (RFC 8122 section 5)."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


class LightDtls:
    """One association over memory BIOs. Feed it datagrams and send what it returns."""

    def __init__(self, identity: Identity, *, is_client: bool) -> None:
        self._connection = SSL.Connection(identity.context)
        self._connection.set_ciphertext_mtu(MTU_BYTES)
        self._is_client = is_client
        self.connected = False
        self.on_data: Callable[[bytes], None] = _ignore
        """Takes what the peer says once connected: SCTP packets."""
        if is_client:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()

    def start(self) -> list[bytes]:
        """Return the first flight; none for a server."""
        return self._step()

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take one datagram. Raises CallFailedError `dtls` when the handshake cannot go on.

        When it is done, datagrams are still to be given: a peer that says its last flight again has
        not had ours, and gets it once more (RFC 6347 section 4.2.4).
        """
        self._connection.bio_write(datagram)
        return self._read() if self.connected else self._step()

    def say(self, data: bytes) -> list[bytes]:
        """Send application data: SCTP packets, and whatever else one likes."""
        with suppress(SSL.Error):
            self._connection.send(data)
        return self._outgoing()

    def timed_out(self) -> list[bytes]:
        """Return the flight again if its retransmission time has come."""
        self._connection.DTLSv1_handle_timeout()
        return self._outgoing()

    def peer_fingerprint(self) -> str:
        """Return the fingerprint of the certificate the other side showed."""
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        return "" if certificate is None else fingerprint(certificate)

    def srtp_sessions(self) -> tuple[Session, Session]:
        """Return the sessions to protect with and to unprotect with (RFC 5764 section 4.2)."""
        material = self._connection.export_keying_material(
            b"EXTRACTOR-dtls_srtp", 2 * (KEY_BYTES + SALT_BYTES)
        )
        client, server = (_key(material, index) for index in (0, 1))
        ours, theirs = (client, server) if self._is_client else (server, client)
        return (
            Session(Policy(key=ours, ssrc_type=Policy.SSRC_ANY_OUTBOUND)),
            Session(Policy(key=theirs, ssrc_type=Policy.SSRC_ANY_INBOUND)),
        )

    def _step(self) -> list[bytes]:
        try:
            self._connection.do_handshake()
            self.connected = True
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            raise CallFailedError("dtls") from error
        return self._outgoing()

    def _read(self) -> list[bytes]:
        """Let OpenSSL look: when it reads a Finished again, it repeats its last flight."""
        with suppress(SSL.Error):  # nothing to read, or a goodbye: the call sees that by itself
            while True:
                self.on_data(self._connection.recv(MAX_RECORD_BYTES))
        return self._outgoing()

    def _outgoing(self) -> list[bytes]:
        flight = b""
        try:
            while True:
                flight += self._connection.bio_read(65536)
        except SSL.WantReadError:
            return in_datagrams(flight)


def _ignore(_data: bytes) -> None:
    pass


def in_datagrams(flight: bytes) -> list[bytes]:
    """Cut a flight between records, as many records to a datagram as fit."""
    datagrams: list[bytes] = []
    current = b""
    while flight:
        size = RECORD_HEADER_BYTES + int.from_bytes(flight[11:13])
        record, flight = flight[:size], flight[size:]
        if current and len(current) + len(record) > MTU_BYTES:
            datagrams.append(current)
            current = b""
        current += record
    return [*datagrams, current] if current else datagrams


def _key(material: bytes, index: int) -> bytes:
    key = material[index * KEY_BYTES :][:KEY_BYTES]
    return key + material[2 * KEY_BYTES + index * SALT_BYTES :][:SALT_BYTES]


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(8))])
    now = datetime.datetime.now(tz=datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
