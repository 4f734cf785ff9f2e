"""Who may do what on an admin port. Pure; `fleet.admin.guard` asks it at every call.

    bearer token         a name and a role, from TRUNKLINE_ADMIN_TOKENS
    client certificate   common name and organisation: CN=alice, O=operator (mTLS)
    neither is set up    whoever is on this machine is an operator; nobody else is let in

Health checks need nothing: load balancers and kubelets have no secrets.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from ipaddress import ip_address

MIN_TOKEN_CHARS = 16


class Role(Enum):
    """Viewers may look, operators may act too."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Operator:
    """Somebody with a name and a role."""

    name: str
    role: Role


@dataclass(frozen=True)
class AdminToken:
    """A bearer token and whose it is; only its digest is kept."""

    operator: Operator
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> AdminToken:
        """Read `ROLE:NAME:TOKEN`. Raises ValueError without quoting any of it."""
        role, _, rest = text.strip().partition(":")
        name, _, token = rest.partition(":")
        known = role in {known.value for known in Role}
        if not (known and name.isprintable() and 1 <= len(name) <= 64):
            raise ValueError("each token is written ROLE:NAME:TOKEN, role viewer or operator")
        if len(token) < MIN_TOKEN_CHARS:
            raise ValueError(f"a token has at least {MIN_TOKEN_CHARS} characters")
        return cls(Operator(name, Role(role)), _digest(token))


@dataclass(frozen=True)
class Caller:
    """What is known of a peer: its IP address ("" for a local socket), the token it sent, and what
    its certificate says (verified by TLS)."""

    host: str
    token: str = field(default="", repr=False)
    certificate: Operator | None = None


class Denied(Exception):  # noqa: N818 - says what happened
    """Nobody we know. The text is for the caller."""


class AdminAccess:
    """The rules of one process."""

    def __init__(self, tokens: Sequence[AdminToken] = (), *, certificates: bool = False) -> None:
        self._tokens = tuple(tokens)
        self._certificates = certificates

    def identify(self, caller: Caller) -> Operator:
        """Who it is. Raises Denied."""
        if caller.token:
            return self._holder(caller.token)
        if caller.certificate:
            return caller.certificate
        if self._tokens:
            raise Denied("send the metadata authorization: Bearer TOKEN")
        if self._certificates:
            raise Denied("the client certificate has no O=viewer or O=operator")
        if not _is_here(caller.host):
            raise Denied("only from the same machine, until TRUNKLINE_ADMIN_TOKENS is set")
        return Operator("local", Role.OPERATOR)

    def _holder(self, token: str) -> Operator:
        given, holder = _digest(token), None
        for known in self._tokens:  # all are compared, so that time tells nothing
            if hmac.compare_digest(known.digest, given):
                holder = known.operator
        if holder is None:
            raise Denied("the token is not known")
        return holder


def bearer(authorization: str) -> str:
    """The token of an authorization header (RFC 6750 §2.1); empty when there is none."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _is_here(host: str) -> bool:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return not host
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
