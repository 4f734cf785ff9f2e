"""Crockford's base32: 5 bits a character, no I, L, O or U.

All its characters are ice-chars (RFC 8839 §5.4), which rules out base64url's `-` and `_`, and a
client that upper- or lower-cases a ufrag cannot be told apart by it: reading ignores case.
"""

from __future__ import annotations

from wire.errors import WireError

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {char: value for value, char in enumerate(ALPHABET)} | {
    char.lower(): value for value, char in enumerate(ALPHABET)
}


def encode(data: bytes) -> str:
    """Text of `data`, whose length must be a multiple of 5 bytes (8 characters each)."""
    if len(data) % 5:
        raise ValueError("base32 without padding needs a multiple of 5 bytes")
    number = int.from_bytes(data)
    shifts = range(len(data) * 8 - 5, -1, -5)
    return "".join(ALPHABET[number >> shift & 31] for shift in shifts)


def decode(text: str) -> bytes:
    """Bytes of `text`, whose length must be a multiple of 8. Raises WireError."""
    if len(text) % 8:
        raise WireError("bad_base32_length")
    number = 0
    try:
        for char in text:
            number = number << 5 | _VALUES[char]
    except KeyError:
        raise WireError("bad_base32_character") from None
    return number.to_bytes(len(text) * 5 // 8)
