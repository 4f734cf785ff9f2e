"""Short secrets under the fleet's keys: whoever has the ring opens what any other sealed.

    version 4 · key id 4 | nonce 96 | AES-256-GCM( plain; the head and `about` authenticated )

Each purpose has a key of its own, made from the ring's (BLAKE2s, `person`), so what was sealed for
one opens for no other. Nonces are random: 2^32 seals under one key before two are likely to meet
with a chance of 2^-32 (NIST SP 800-38D §8.3), which is a rotation every year at 100 a second.
"""

from __future__ import annotations

import secrets
from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wire.keys import KeyRing

NONCE_BYTES = 12
OVERHEAD_BYTES = 1 + NONCE_BYTES + 16

_VERSION = 1


class SealBroken(ValueError):  # noqa: N818 - says what is wrong
    """Not sealed with a key of the ring, for this purpose, about this."""


def seal(ring: KeyRing, purpose: bytes, plain: bytes, about: bytes = b"") -> bytes:
    """`plain` sealed with the current key; `purpose` is 8 bytes at most."""
    head = bytes([_VERSION << 4 | ring.current])
    nonce = secrets.token_bytes(NONCE_BYTES)
    cipher = _cipher(ring.keys[ring.current], purpose)
    return head + nonce + cipher.encrypt(nonce, plain, head + about)


def unseal(ring: KeyRing, purpose: bytes, sealed: bytes, about: bytes = b"") -> bytes:
    """What was sealed. Raises SealBroken, and nothing else whatever the bytes."""
    if len(sealed) < OVERHEAD_BYTES or sealed[0] >> 4 != _VERSION:
        raise SealBroken
    key = ring.keys.get(sealed[0] & 15)
    if key is None:
        raise SealBroken
    head, nonce, rest = sealed[:1], sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return _cipher(key, purpose).decrypt(nonce, rest, head + about)
    except InvalidTag:
        raise SealBroken from None


def _cipher(key: bytes, purpose: bytes) -> AESGCM:
    return AESGCM(blake2s(key=key, person=purpose).digest())
