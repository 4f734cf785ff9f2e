"""Who may call: bearer keys (RFC 6750 §2.1), compared in constant time, and client secrets.

A WebSocket of a browser can send no Authorization header; it names its key as a subprotocol, as
OpenAI's clients do: `Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.KEY`.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from aiohttp import hdrs, web

from transceiver.signaling.client_secret import PREFIX, ClientSecret, SecretRefused, unseal
from transceiver.signaling.problem import Problem
from wire.keys import KeyRing

KEY_ID = web.RequestKey("key_id", str)  # what the API key of a request is called
BOUND_SESSION = web.RequestKey("bound_session", str)
"""Of a request with a client secret: the session bound to it, as JSON text."""

KEY_ID_DIGITS = 10
_CHALLENGE = 'Bearer realm="trunkline"'
_INVALID = {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
_SUBPROTOCOL_KEY = "openai-insecure-api-key."


class ApiKeys:
    """The keys that are good. Raises ValueError for none."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ValueError("at least one API key is needed")
        self._digests = [_digest(key) for key in keys]

    def check(self, headers: Mapping[str, str]) -> str:
        """Judge a request by its headers; returns the `key_id` of the key in it.

        Raises Problem missing_key or wrong_key (both 401).
        """
        given = _digest(bearer(headers))
        # Digests have one length, and all are compared: time tells neither length nor position.
        matches = [hmac.compare_digest(given, good) for good in self._digests]
        if not any(matches):
            raise Problem("wrong_key", "Check the API key.", dict(_INVALID))
        return _id(given)


class SecretKeys:
    """Client secrets that are good; `ring` gives the keys they are sealed with, as they are now."""

    def __init__(self, ring: Callable[[], KeyRing]) -> None:
        self._ring = ring

    def read(self, headers: Mapping[str, str]) -> ClientSecret | None:
        """What the request's secret says; None when it brings none.

        Raises Problem missing_key, wrong_key or expired_secret (all 401).
        """
        secret = bearer(headers)
        if not secret.startswith(PREFIX):
            return None
        try:
            return unseal(self._ring(), secret, time.time())
        except SecretRefused as refused:
            code = "expired_secret" if refused.reason == "expired" else "wrong_key"
            raise Problem(code, "Get a new client secret.", dict(_INVALID)) from None


def bearer(headers: Mapping[str, str]) -> str:
    """The key of a request. Raises Problem missing_key."""
    scheme, _, key = headers.get(hdrs.AUTHORIZATION, "").strip().partition(" ")
    key = key.strip() if scheme.lower() == "bearer" else _subprotocol_key(headers)
    if not key:
        detail = "Send the header Authorization: Bearer KEY."
        raise Problem("missing_key", detail, {"WWW-Authenticate": _CHALLENGE})
    return key


def _subprotocol_key(headers: Mapping[str, str]) -> str:
    offered = headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")
    keys = (name.strip() for name in offered)
    return next(
        (name.removeprefix(_SUBPROTOCOL_KEY) for name in keys if name.startswith(_SUBPROTOCOL_KEY)),
        "",
    )


def key_id(key: str) -> str:
    """What a key is called where it must not be shown: limits, logs, metrics. Not a secret."""
    return _id(_digest(key))


def _id(digest: bytes) -> str:
    return "k_" + digest.hex()[:KEY_ID_DIGITS]


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
