"""Client secrets: bearer tokens for pages, good for some minutes, that no process has to remember.

    ek_ base64url( `transceiver.sealing` ), and sealed in it:
    expiry 64 | id of the API key it was made with 96 | deflated session

The key is derived from the ring that signs route tokens, so every transceiver of a fleet takes a
secret that any of them made, and rotating the ring ends old secrets. Sealed and not only signed:
what a session is told (instructions, tools) is nobody's business on the way through a browser's
logs and proxies. A header line of 8 KiB is what servers and proxies commonly take, so a secret
stays below.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass, field

from transceiver import sealing
from transceiver.sealing import NONCE_BYTES, OVERHEAD_BYTES, SealBroken
from wire.keys import KeyRing

PREFIX = "ek_"
MAX_CHARS = 7_500

_HEAD = struct.Struct("!Q12s")
_PURPOSE = b"ek-seal1"


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
    said = _HEAD.pack(secret.expires_unix_s, secret.key_id.encode())
    plain = said + zlib.compress(secret.session_json.encode(), 9)
    sealed = sealing.seal(keys, _PURPOSE, plain)
    text = PREFIX + base64.urlsafe_b64encode(sealed).decode().rstrip("=")
    if len(text) > MAX_CHARS:
        raise SessionTooLarge(f"the secret would have {len(text)} characters, not {MAX_CHARS}")
    return text


def unseal(keys: KeyRing, text: str, unix_s: float) -> ClientSecret:
    """What a secret says. Raises SecretRefused, and nothing else whatever the text."""
    sealed = _decoded(text)
    try:
        plain = sealing.unseal(keys, _PURPOSE, sealed)
    except SealBroken:
        raise SecretRefused("forged") from None
    # What has our seal was made by `seal`: it need not be checked again, only its age.
    expires_unix_s, key_id = _HEAD.unpack_from(plain)
    if unix_s >= expires_unix_s:
        raise SecretRefused("expired")
    session_json = zlib.decompress(plain[_HEAD.size :]).decode()
    secret_id = sealed[1 : 1 + NONCE_BYTES].hex()
    return ClientSecret(expires_unix_s, session_json, key_id.decode(), secret_id)


def _decoded(text: str) -> bytes:
    if not text.startswith(PREFIX) or not text.isascii() or len(text) > MAX_CHARS:
        raise SecretRefused("malformed")
    body = text.removeprefix(PREFIX)
    try:
        sealed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise SecretRefused("malformed") from None
    if len(sealed) < OVERHEAD_BYTES:
        raise SecretRefused("malformed")
    return sealed
