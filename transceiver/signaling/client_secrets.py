"""Short-lived secrets for pages, as OpenAI's API makes them.

    POST /v1/realtime/client_secrets   {"expires_after": {"anchor": "created_at", "seconds": 600},
                                        "session": {…}}
                                       → 200 {"value": "ek_…", "expires_at": …, "session": {…}}

A secret places any number of calls until it expires. Its session is theirs, except for members that
a call brings itself. Only an API key makes a secret.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transceiver.signaling.access import PRINCIPAL
from transceiver.signaling.body import as_text, read_body
from transceiver.signaling.client_secret import ClientSecret, SessionTooLarge, seal
from transceiver.signaling.problem import Problem
from transceiver.signaling.realtime_calls import MAX_SESSION_BYTES, as_json, read_object
from wire.keys import KeyRing

SECRETS_PATH = "/v1/realtime/client_secrets"
SHORTEST_S, LONGEST_S, DEFAULT_S = 10, 7200, 600  # the API's own


class ExpiresAfter(BaseModel):
    """How long a secret is good."""

    model_config = ConfigDict(extra="forbid", strict=True)

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=SHORTEST_S, le=LONGEST_S)] = DEFAULT_S


class SecretRequest(BaseModel):
    """The body of the request; the session is looked into by the backend alone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    expires_after: ExpiresAfter | None = None
    session: dict[str, Any] | None = None


class ClientSecrets:
    """The handler that makes secrets; `keys` gives the ring as it is now."""

    def __init__(self, keys: Callable[[], KeyRing], body_timeout_s: float) -> None:
        self._keys = keys
        self._body_timeout_s = body_timeout_s

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.post(SECRETS_PATH, self.create),
            web.options(SECRETS_PATH, self.describe),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Make a secret."""
        body = await read_body(request, MAX_SESSION_BYTES, self._body_timeout_s)
        wish = _wish(as_text(body, "bad_secret_request"))
        expires_after = wish.expires_after or ExpiresAfter()
        expires_unix_s = int(time.time()) + expires_after.seconds
        session_json = as_json(wish.session) if wish.session else ""
        value = self._seal(ClientSecret(expires_unix_s, session_json, request[PRINCIPAL].key_id))
        members = {"value": value, "expires_at": expires_unix_s, "session": _shown(wish.session)}
        return web.Response(
            text=as_json(members),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    async def describe(self, _request: web.Request) -> web.Response:
        """What making one takes."""
        headers = {"Accept-Post": "application/json", "Allow": "POST, OPTIONS"}
        return web.Response(status=204, headers=headers)

    def _seal(self, secret: ClientSecret) -> str:
        try:
            return seal(self._keys(), secret)
        except SessionTooLarge:
            detail = "Shorten instructions and tools, or send the session with the call."
            raise Problem("session_too_large", detail) from None


def _wish(text: str) -> SecretRequest:
    members = read_object(text, "bad_secret_request", "The body") if text.strip() else {}
    try:
        return SecretRequest.model_validate(members)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(str(step) for step in wrong["loc"])
        raise Problem("bad_secret_request", f"{where[:64]}: {wrong['msg']}.") from None


def _shown(session: dict[str, Any] | None) -> dict[str, Any]:
    """The session as it was given, with the members every shown session has."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": f"sess_{secrets.token_hex(11)}",
        **(session or {}),
    }
