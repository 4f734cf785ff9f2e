"""The certificates of the admin ports: checked before use, and read again when renewed.

Whoever renews them (cert-manager, a cron job) writes the files anew; the next connection gets the
new ones. A certificate that has expired, or does not fit its key, is found when the process
starts and not by the first operator who needs it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.x509.oid import NameOID

from fleet.admin.access import Operator, Role
from fleet.errors import StartupError

CERTIFICATE = "TRUNKLINE_ADMIN_TLS_CERT"
KEY = "TRUNKLINE_ADMIN_TLS_KEY"
CLIENT_CA = "TRUNKLINE_ADMIN_CLIENT_CA"

log = structlog.get_logger(__name__)


class BadCertificate(StartupError):  # noqa: N818 - as fleet.errors names them
    """A certificate, key or CA that cannot be used; the text names the variable and the cure."""


@dataclass(frozen=True)
class AdminTls:
    """Where the PEM files are. With `client_ca` every client needs a certificate of that CA."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def check(self, now: datetime | None = None) -> None:
        """Raise BadCertificate for what could not serve at `now`."""
        moment = now or datetime.now(UTC)
        for variable, path in ((CERTIFICATE, self.certificate), (CLIENT_CA, self.client_ca)):
            if path is not None:
                check_certificate(variable, _read(variable, path), moment)
        _read(KEY, self.key)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError):
            raise BadCertificate(
                f"{KEY}: not the key of the certificate in {CERTIFICATE}"
            ) from None

    def credentials(self) -> grpc.ServerCredentials:
        """What gRPC serves with; follows the files. Raises BadCertificate."""
        self.check()
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            _Follower(self).fetch,  # type: ignore[arg-type]  # None: no change, says gRPC
            self.client_ca is not None,
        )

    def stamps(self) -> tuple[int, ...]:
        """When each file was written."""
        files = (self.certificate, self.key, self.client_ca)
        return tuple(path.stat().st_mtime_ns for path in files if path is not None)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = (_read(KEY, self.key), _read(CERTIFICATE, self.certificate))
        authority = _read(CLIENT_CA, self.client_ca) if self.client_ca else None
        return grpc.ssl_server_certificate_configuration([pair], authority)


class _Follower:
    """Asked by gRPC at every handshake; answers None while nothing has changed."""

    def __init__(self, tls: AdminTls) -> None:
        self._tls = tls
        self._stamps = tls.stamps()

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            stamps = self._tls.stamps()
            if stamps == self._stamps:
                return None
            self._tls.check()
            found = self._tls._configuration()
        except (BadCertificate, OSError) as error:
            # Half written, or the next one is no good: the old one serves on.
            log.warning("admin_certificate_not_renewed", reason=str(error))
            return None
        self._stamps = stamps
        log.info("admin_certificate_renewed")
        return found


def check_certificate(variable: str, pem: bytes, now: datetime) -> x509.Certificate:
    """The first certificate in `pem`, if it is valid at `now`. Raises BadCertificate."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise BadCertificate(f"{variable}: not a PEM certificate") from None
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends:
        raise BadCertificate(f"{variable}: expired on {ends:%Y-%m-%d %H:%M} UTC; renew it")
    if now < begins:
        raise BadCertificate(
            f"{variable}: not valid before {begins:%Y-%m-%d %H:%M} UTC; is the clock right?"
        )
    return certificate


def read_operator(pem: bytes) -> Operator | None:
    """Who a client certificate is for: CN is the name, O the role; None if it does not say."""
    if not pem:
        return None
    try:
        subject = x509.load_pem_x509_certificate(pem).subject
    except ValueError:
        return None
    organisations = _values(subject, NameOID.ORGANIZATION_NAME)
    roles = [role for role in Role if role.value in organisations]
    names = _values(subject, NameOID.COMMON_NAME)
    return Operator(names[0], roles[-1]) if names and roles else None


def _values(subject: x509.Name, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value) for attribute in subject.get_attributes_for_oid(oid)]


def _read(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise BadCertificate(f"{variable}: {path}: {reason}") from None
