"""Certificates for tests: a CA, and whom it vouches for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID


def name(common_name: str, organisation: str = "") -> x509.Name:
    """A subject."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(attributes)


@dataclass
class Authority:
    """A CA that writes PEM files into a directory."""

    directory: Path
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def certificate(self) -> Path:
        """The CA's own."""
        path = self.directory / "ca.pem"
        if not path.exists():
            own = self._sign(name("test CA"), self.key, timedelta(days=1), authority=True)
            path.write_bytes(own.public_bytes(Encoding.PEM))
        return path

    def issue(
        self, file: str, organisation: str = "", lasts: timedelta = timedelta(hours=1)
    ) -> tuple[Path, Path]:
        """A certificate for CN `file`, for 127.0.0.1 and localhost; certificate and key."""
        self.certificate.exists()
        key = ec.generate_private_key(ec.SECP256R1())
        issued = self._sign(name(file, organisation), key, lasts)
        certificate, secret = self.directory / f"{file}.pem", self.directory / f"{file}.key"
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        certificate.write_bytes(issued.public_bytes(Encoding.PEM))
        return certificate, secret

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        lasts: timedelta,
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name("test CA"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + lasts)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )
