"""Who asks: bearer keys (RFC 6750 §2.1), compared in constant time, or client secrets.

A WebSocket of a browser can send no Authorization header; it names its key as a subprotocol, as
OpenAI's clients do: `Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.KEY`.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from aiohttp import hdrs, web

from fleet.api_key import ApiKey
from fleet.page_policy import NO_RULES, PageRules
from transceiver.call.principal import Principal
from transceiver.signaling.client_secret import PREFIX, ClientSecret, SecretRefused, unseal
from transceiver.signaling.problem import Problem
from wire.keys import KeyRing

PRINCIPAL = web.RequestKey("principal", Principal)  # who asks
BOUND_SESSION = web.RequestKey("bound_session", str)
"""Of a request with a client secret: the session bound to it, as JSON text."""

_CHALLENGE = 'Bearer realm="trunkline"'
_INVALID = {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
_SUBPROTOCOL_KEY = "openai-insecure-api-key."


class ApiKeys:
    """The keys that are good. Raises ValueError for none."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        if not keys:
            raise ValueError("at least one API key is needed")
        self._keys = [(_digest(key.key), Principal(key.tenant, key.id)) for key in keys]
        self._by_id = {principal.key_id: principal for _, principal in self._keys}

    def check(self, headers: Mapping[str, str]) -> Principal:
        """Whose key a request brings. Raises Problem missing_key or wrong_key (both 401)."""
        given, holder = _digest(bearer(headers)), None
        # Digests have one length, and all are compared: time tells neither length nor position.
        for good, principal in self._keys:
            if hmac.compare_digest(given, good):
                holder = principal
        if holder is None:
            raise Problem("wrong_key", "Check the API key.", dict(_INVALID))
        return holder

    def holder_of(self, key_id: str) -> Principal | None:
        """Whose key has that id; None when it is good no longer."""
        return self._by_id.get(key_id)


class SecretKeys:
    """Client secrets that are good: sealed with `ring`, which gives the keys as they are now, and
    made with a key that is still good. `pages` says what their holders may set."""

    def __init__(
        self, ring: Callable[[], KeyRing], keys: ApiKeys, pages: PageRules = NO_RULES
    ) -> None:
        self._ring = ring
        self._keys = keys
        self._pages = pages

    def read(self, headers: Mapping[str, str]) -> tuple[Principal, str] | None:
        """Who holds the request's secret and the session bound to it; None when it brings none.

        Raises Problem missing_key, wrong_key or expired_secret (all 401).
        """
        text = bearer(headers)
        if not text.startswith(PREFIX):
            return None
        secret = self._opened(text)
        maker = self._keys.holder_of(secret.key_id)
        if maker is None:
            raise Problem("wrong_key", "Get a new client secret.", dict(_INVALID))
        may_set = self._pages.of(maker.tenant)
        page = Principal(maker.tenant, maker.key_id, secret.id, may_set)
        return page, secret.session_json

    def _opened(self, text: str) -> ClientSecret:
        try:
            return unseal(self._ring(), text, time.time())
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


def unproven() -> Problem:
    """The problem of a request whose proof is none (`transceiver.pod.proof`)."""
    return Problem("wrong_key", "Send an API key.", dict(_INVALID))


def _subprotocol_key(headers: Mapping[str, str]) -> str:
    offered = headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")
    keys = (name.strip() for name in offered)
    return next(
        (name.removeprefix(_SUBPROTOCOL_KEY) for name in keys if name.startswith(_SUBPROTOCOL_KEY)),
        "",
    )


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
