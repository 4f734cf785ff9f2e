"""Who may call: bearer keys (RFC 6750 §2.1), compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256

from transceiver.signaling.problem import Problem

KEY_ID_DIGITS = 10
_CHALLENGE = 'Bearer realm="trunkline"'


class ApiKeys:
    """The keys that are good. Raises ValueError for none."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ValueError("at least one API key is needed")
        self._digests = [_digest(key) for key in keys]

    def check(self, authorization: str | None) -> str:
        """Judge an Authorization header; returns the `key_id` of the key in it.

        Raises Problem missing_key or wrong_key (both 401).
        """
        scheme, _, key = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            detail = "Send the header Authorization: Bearer KEY."
            raise Problem("missing_key", detail, {"WWW-Authenticate": _CHALLENGE})
        given = _digest(key.strip())
        # Digests have one length, and all are compared: time tells neither length nor position.
        matches = [hmac.compare_digest(given, good) for good in self._digests]
        if not any(matches):
            challenge = f'{_CHALLENGE}, error="invalid_token"'
            raise Problem("wrong_key", "Check the API key.", {"WWW-Authenticate": challenge})
        return _id(given)


def key_id(key: str) -> str:
    """What a key is called where it must not be shown: limits, logs, metrics. Not a secret."""
    return _id(_digest(key))


def _id(digest: bytes) -> str:
    return "k_" + digest.hex()[:KEY_ID_DIGITS]


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
