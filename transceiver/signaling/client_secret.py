"""Client secrets: bearer tokens for pages, valid for minutes, kept by no process.

    ek_ base64url( version 4 · key id 4 | nonce 96 | AES-256-GCM( … ) ), and sealed in it:
    expiry 64 | id of the API key it was made with 96 | deflated session

The key is derived from the ring that signs route tokens, so every transceiver of a fleet takes a
secret that any of them made, and rotating the ring ends old secrets. It is sealed and not only
signed: the logs of a browser and the proxies on the way must not learn the instructions and tools
of a session. A header line of 8 KiB is what servers and proxies commonly take, so a secret
stays below.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import struct
import zlib
from dataclasses import dataclass, field
from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wire.keys import KeyRing

PREFIX = "ek_"
MAX_CHARS = 7_500
NONCE_BYTES = 12

_VERSION = 1
_HEAD = struct.Struct("!Q12s")
_PERSON = b"ek-seal1"  # BLAKE2's own way to give each use of a key a key of its own


class SecretRefused(Exception):  # noqa: N818 - an answer to a caller
    """Why a secret is not good: `malformed`, `forged` or `expired`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SessionTooLarge(ValueError):  # noqa: N818 - says what is wrong
    """The session does not fit into a secret."""


@dataclass(frozen=True)
class ClientSecret:
    """What a secret says: until when it is good, and the session bound to it as JSON text.

    `key_id` names the API key it was made with, 12 characters: calls count against its limits, and
    are its tenant's. `id` tells this secret from all others; it is known once it was sealed.
    """

    expires_unix_s: int
    session_json: str = field(repr=False)
    key_id: str
    id: str = field(default="", compare=False)


def seal(keys: KeyRing, secret: ClientSecret) -> str:
    """The secret as text. Raises SessionTooLarge when that would be more than MAX_CHARS."""
    head = _HEAD.pack(secret.expires_unix_s, secret.key_id.encode())
    plain = head + zlib.compress(secret.session_json.encode(), 9)
    head = bytes([_VERSION << 4 | keys.current])
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = _cipher(keys.keys[keys.current]).encrypt(nonce, plain, head)
    text = PREFIX + base64.urlsafe_b64encode(head + nonce + sealed).decode().rstrip("=")
    if len(text) > MAX_CHARS:
        raise SessionTooLarge(f"the secret would have {len(text)} characters, not {MAX_CHARS}")
    return text


def unseal(keys: KeyRing, text: str, unix_s: float) -> ClientSecret:
    """What a secret says. Raises SecretRefused, and nothing else whatever the text."""
    sealed = _decoded(text)
    version, key_id = sealed[0] >> 4, sealed[0] & 15
    key = keys.keys.get(key_id)
    if version != _VERSION or key is None:
        raise SecretRefused("forged")
    nonce, rest = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        plain = _cipher(key).decrypt(nonce, rest, sealed[:1])
    except InvalidTag:
        raise SecretRefused("forged") from None
    # What has our seal was made by `seal`: it need not be checked again, only its age.
    expires_unix_s, maker = _HEAD.unpack_from(plain)
    if unix_s >= expires_unix_s:
        raise SecretRefused("expired")
    session_json = zlib.decompress(plain[_HEAD.size :]).decode()
    return ClientSecret(expires_unix_s, session_json, maker.decode(), nonce.hex())


def _decoded(text: str) -> bytes:
    if not text.startswith(PREFIX) or not text.isascii() or len(text) > MAX_CHARS:
        raise SecretRefused("malformed")
    body = text.removeprefix(PREFIX)
    try:
        sealed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise SecretRefused("malformed") from None
    if len(sealed) < 1 + NONCE_BYTES + 16:
        raise SecretRefused("malformed")
    return sealed


def _cipher(key: bytes) -> AESGCM:
    return AESGCM(blake2s(key=key, person=_PERSON).digest())
