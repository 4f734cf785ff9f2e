"""Ed25519 keys (RFC 8032) in PEM files: the store has neither of them.

$ openssl genpkey -algorithm ed25519 -out root.pem
$ openssl pkey -in root.pem -pubout -out root-public.pem
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)


class BadKey(ValueError):  # noqa: N818 - says what it is
    """No Ed25519 key; the text names the file and nothing of its content."""


class SigningKey:
    """What signs roots."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.id = key_id(key.public_key())

    @classmethod
    def read(cls, path: Path) -> SigningKey:
        """From a PEM file without a password. Raises BadKey."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise BadKey(f"{path}: not a private key in PEM ({type(error).__name__})") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise BadKey(f"{path}: not an Ed25519 key")
        return cls(key)

    def sign(self, statement: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(statement)


class CheckingKey:
    """What checks them; anybody may have it."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.id = key_id(key)

    @classmethod
    def read(cls, path: Path) -> CheckingKey:
        """From a PEM file. Raises BadKey."""
        try:
            key = load_pem_public_key(path.read_bytes())
        except (OSError, ValueError) as error:
            raise BadKey(f"{path}: not a public key in PEM ({type(error).__name__})") from None
        if not isinstance(key, Ed25519PublicKey):
            raise BadKey(f"{path}: not an Ed25519 key")
        return cls(key)

    def holds(self, statement: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's over this statement."""
        try:
            self._key.verify(signature, statement)
        except InvalidSignature:
            return False
        return True


def key_id(key: Ed25519PublicKey) -> str:
    """Names a key: the first 16 hex digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]
