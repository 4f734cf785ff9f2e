"""Who may read what: an API key the calls of its tenant, operators and viewers every call.

bearer is an API key       the calls of its tenant, and erasing what was said in them
bearer is an admin token   every call; an operator may erase too
none, and no tokens set    whoever is on this machine is an operator, as on the admin ports
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from aiohttp import web
from aiohttp.typedefs import Handler

from fleet.admin.access import AdminAccess, Caller, Denied, Role, bearer
from fleet.api_key import ApiKey
from fleet.host_header import is_unspoofable
from records.api.problem import Problem

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="trunkline"'}


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. `tenant` is whose calls they see, None for all; `name` is for the log."""

    name: str
    role: str
    tenant: str | None
    may_erase: bool


ASKER = web.RequestKey("asker", Asker)


class Access:
    """The rules of one process."""

    def __init__(self, operators: AdminAccess, keys: Sequence[ApiKey] = ()) -> None:
        self._operators = operators
        self._keys = [(_digest(key.key), key) for key in keys]

    def identify(self, authorization: str, peer: str, host_header: str) -> Asker:
        """Who it is. Raises Problem: denied, or forbidden_host."""
        token = bearer(authorization)
        key = self._holder(token)
        if key is not None:
            return Asker(key.id, "key", key.tenant, may_erase=True)
        try:
            operator = self._operators.identify(Caller(peer, token))
        except Denied:
            detail = "Send the header Authorization: Bearer TOKEN, with a token or an API key."
            raise Problem("denied", detail, dict(_CHALLENGE)) from None
        if not token and not is_unspoofable(host_header):
            detail = "Open it by IP address or as localhost, or set TRUNKLINE_ADMIN_TOKENS."
            raise Problem("forbidden_host", detail)
        may_erase = operator.role is Role.OPERATOR
        return Asker(operator.name, operator.role.value, None, may_erase)

    def _holder(self, token: str) -> ApiKey | None:
        given, holder = _digest(token), None
        for digest, key in self._keys:  # all are compared, so that time tells nothing
            if hmac.compare_digest(digest, given):
                holder = key
        return holder

    def check(self, handler: Handler) -> Handler:
        """The handler of a route that is not for everybody."""

        async def checked(request: web.Request) -> web.StreamResponse:
            request[ASKER] = self.identify(
                request.headers.get("Authorization", ""),
                request.remote or "",
                request.headers.get("Host", ""),
            )
            return await handler(request)

        return checked


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
