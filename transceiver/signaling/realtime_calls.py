"""The realtime calls API, as OpenAI's WebRTC clients speak it.

    POST /v1/realtime/calls              application/sdp: the offer, or
                                         multipart/form-data: `sdp`, and `session` (a JSON object)
                                         → 201, answer, Location: /v1/realtime/calls/{id}
    POST /v1/realtime/calls/{id}/hangup  → 200

The `session` object goes to the model backend as it came. All that is read here is which backend
that should be: `session.trunkline.backend`, or a `session.model` that is a backend's name. A call
placed with a client secret has the session bound to that secret, and over it those members of its
own that a page may set (`fleet.page_policy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from pydantic_core import from_json, to_json

from fleet.foreign_json import read_json
from fleet.page_policy import NotForPages, PagePolicy
from transceiver.call.principal import Principal
from transceiver.signaling.access import BOUND_SESSION, PRINCIPAL
from transceiver.signaling.body import as_text, read_body, require_type
from transceiver.signaling.form import Field, FormError, read_form
from transceiver.signaling.intake import Intake
from transceiver.signaling.offer_policy import MAX_OFFER_BYTES
from transceiver.signaling.problem import Problem
from transceiver.signaling.whip import SDP_TYPE

CALLS_PATH = "/v1/realtime/calls"
FORM_TYPE = "multipart/form-data"
MAX_SESSION_BYTES = 64 * 1024
MAX_FORM_BYTES = MAX_OFFER_BYTES + MAX_SESSION_BYTES + 8 * 1024  # and its headers

_SDP_FIELD_TYPES = {SDP_TYPE, "text/plain", "application/octet-stream"}
_SESSION_FIELD_TYPES = {"application/json", "text/plain", "application/octet-stream"}


class RealtimeCalls:
    """The handlers of the realtime calls API."""

    def __init__(self, intake: Intake, body_timeout_s: float) -> None:
        self._intake = intake
        self._body_timeout_s = body_timeout_s

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        hang_up_path = CALLS_PATH + "/{call_id}/hangup"
        return [
            web.post(CALLS_PATH, self.create),
            web.options(CALLS_PATH, self.describe_calls),
            web.post(hang_up_path, self.hang_up),
            web.options(hang_up_path, self.describe_hang_up),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Open a call."""
        if require_type(request, SDP_TYPE, FORM_TYPE) == FORM_TYPE:
            sdp, session_json = await self._form(request)
        else:
            body = await read_body(request, MAX_OFFER_BYTES, self._body_timeout_s)
            sdp, session_json = as_text(body, "not_sdp"), ""
        bound_json = request.get(BOUND_SESSION, "")
        session_json = over(bound_json, _for_page(request[PRINCIPAL], bound_json, session_json))
        call = await self._intake.place(sdp, "realtime", request[PRINCIPAL], session_json)
        headers = {"Location": f"{CALLS_PATH}/{call.session.call_id}"}
        return web.Response(status=201, text=call.answer, content_type=SDP_TYPE, headers=headers)

    async def hang_up(self, request: web.Request) -> web.Response:
        """End a call."""
        self._intake.hang_up(request.match_info["call_id"], request[PRINCIPAL])
        return web.Response(status=200)

    async def describe_calls(self, _request: web.Request) -> web.Response:
        """What creating takes."""
        headers = {"Accept-Post": f"{SDP_TYPE}, {FORM_TYPE}", "Allow": "POST, OPTIONS"}
        return web.Response(status=204, headers=headers)

    async def describe_hang_up(self, _request: web.Request) -> web.Response:
        """What hanging up takes."""
        return web.Response(status=204, headers={"Allow": "POST, OPTIONS"})

    async def _form(self, request: web.Request) -> tuple[str, str]:
        body = await read_body(request, MAX_FORM_BYTES, self._body_timeout_s)
        try:
            fields = read_form(request.headers.get("Content-Type", ""), body)
        except FormError as error:
            raise Problem("bad_form", f"In the multipart body {error}.") from None
        return _sdp(fields.get("sdp")), read_session(fields.get("session"))


def _sdp(field: Field | None) -> str:
    if field is None:
        raise Problem("bad_form", "The form has no field sdp.")
    if field.content_type not in _SDP_FIELD_TYPES:
        raise Problem("bad_form", f"The field sdp must be {SDP_TYPE}.")
    if len(field.content) > MAX_OFFER_BYTES:
        raise Problem("too_large", f"The field sdp may have {MAX_OFFER_BYTES} bytes.")
    return as_text(field.content, "not_sdp")


def read_session(field: Field | None) -> str:
    """The session as it came; empty when the form has none.

    Raises Problem: bad_form (wrong type), too_large, bad_session (no JSON object).
    """
    if field is None:
        return ""
    if field.content_type not in _SESSION_FIELD_TYPES:
        raise Problem("bad_form", "The field session must be application/json.")
    if len(field.content) > MAX_SESSION_BYTES:
        raise Problem("too_large", f"The field session may have {MAX_SESSION_BYTES} bytes.")
    text = as_text(field.content, "bad_session")
    read_object(text, "bad_session", "The field session")
    return text


def _for_page(principal: Principal, bound_json: str, session_json: str) -> str:
    """The session of a call as far as who places it may set it.

    Raises Problem not_allowed_for_page.
    """
    if principal.may_set is None or not session_json:
        return session_json
    bound = from_json(bound_json) if bound_json else {}
    try:
        kept = PagePolicy(principal.may_set, bound).session(from_json(session_json))
    except NotForPages as error:
        detail = f"Make the client secret with {error.param}, or leave it out."
        raise Problem("not_allowed_for_page", detail) from None
    return as_json(kept)


def over(bound_json: str, session_json: str) -> str:
    """The session of a call over the one bound to its secret, member by member; both are good."""
    if not bound_json or not session_json:
        return bound_json or session_json
    return as_json({**from_json(bound_json), **from_json(session_json)})


def as_json(members: Mapping[str, Any]) -> str:
    """An object that `read_object` read, as text. A number beyond a double's range is null."""
    return to_json(members, inf_nan_mode="null").decode()


def read_object(text: str, code: str, what: str) -> dict[str, Any]:
    """The JSON object that a text is. Raises Problem with `code`, which names `what`."""
    try:
        # Not `json`: that goes as deep as the interpreter can, where finalizers of other objects
        # fail. It also takes NaN and Infinity, which the backend's parser need not know.
        members = read_json(text)
    except ValueError:
        raise Problem(code, f"{what} cannot be read as JSON.") from None
    if not isinstance(members, dict):
        raise Problem(code, f"{what} must be a JSON object.")
    return members
