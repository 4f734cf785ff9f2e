"""WHIP, the WebRTC-HTTP ingestion protocol (RFC 9725).

    POST    /whip        offer → 201, answer, Location: /whip/{id}, ETag of the ICE session
    PATCH   /whip/{id}   SDP fragment: known credentials → 204; new ones → ICE restart, 200
    DELETE  /whip/{id}   ends the call: 200, and 404 from then on
    OPTIONS              204 with Accept-Post or Accept-Patch

WHIP is for sending; we also speak back in the same call when the offer's direction lets us.
"""

from __future__ import annotations

from aiohttp import web

from transceiver.signaling.access import PRINCIPAL
from transceiver.signaling.body import as_text, read_body, require_type
from transceiver.signaling.fragment import (
    MAX_FRAGMENT_BYTES,
    Fragment,
    FragmentRefused,
    read_fragment,
    write_fragment,
)
from transceiver.signaling.generations import Generation, Generations, matches
from transceiver.signaling.intake import CallSession, Intake
from transceiver.signaling.offer_policy import MAX_OFFER_BYTES
from transceiver.signaling.problem import Problem

SDP_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"


class Whip:
    """The handlers of the WHIP endpoint and its sessions."""

    def __init__(self, intake: Intake, body_timeout_s: float) -> None:
        self.generations = Generations()
        self._intake = intake
        self._body_timeout_s = body_timeout_s

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.post("/whip", self.create),
            web.options("/whip", self.describe_endpoint),
            web.patch("/whip/{call_id}", self.update),
            web.delete("/whip/{call_id}", self.end),
            web.options("/whip/{call_id}", self.describe_session),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Open a call (§4.2)."""
        require_type(request, SDP_TYPE)
        body = await read_body(request, MAX_OFFER_BYTES, self._body_timeout_s)
        call = await self._intake.place(as_text(body, "not_sdp"), "whip", request[PRINCIPAL])
        headers = {
            "Location": f"/whip/{call.session.call_id}",
            "ETag": self.generations.of(call.session).tag,
            "Accept-Patch": FRAGMENT_TYPE,
        }
        return web.Response(status=201, text=call.answer, content_type=SDP_TYPE, headers=headers)

    async def update(self, request: web.Request) -> web.Response:
        """Trickle candidates or restart ICE (§4.3)."""
        session = self._intake.find(request.match_info["call_id"], request[PRINCIPAL])
        require_type(request, FRAGMENT_TYPE)
        self._check_tag(request, session)
        body = await read_body(request, MAX_FRAGMENT_BYTES, self._body_timeout_s)
        fragment = _fragment(as_text(body, "bad_fragment"))
        # Once more: reading took time, and somebody else may have restarted or ended the call.
        session = self._intake.find(session.call_id, request[PRINCIPAL])
        generation = self._check_tag(request, session)
        if fragment.ufrag in (None, generation.remote_ufrag):
            return _trickled(fragment, generation)
        return self._restart(session, fragment)

    async def end(self, request: web.Request) -> web.Response:
        """Hang up (§4.2: DELETE on the session's URL)."""
        self._intake.hang_up(request.match_info["call_id"], request[PRINCIPAL])
        return web.Response(status=200)

    async def describe_endpoint(self, _request: web.Request) -> web.Response:
        """What the endpoint takes (§4.2)."""
        headers = {"Accept-Post": SDP_TYPE, "Allow": "POST, OPTIONS"}
        return web.Response(status=204, headers=headers)

    async def describe_session(self, _request: web.Request) -> web.Response:
        """What a session takes; the same for every id, so that it tells nobody which exist."""
        headers = {"Accept-Patch": FRAGMENT_TYPE, "Allow": "PATCH, DELETE, OPTIONS"}
        return web.Response(status=204, headers=headers)

    def _check_tag(self, request: web.Request, session: CallSession) -> Generation:
        generation = self.generations.of(session)
        if_match = request.headers.get("If-Match")
        if if_match is None:
            detail = "Send If-Match with the ETag of the ICE session, or * to restart it."
            raise Problem("no_if_match", detail)
        if not matches(if_match, generation.tag):
            raise Problem("stale_etag", "The ETag is not that of the current ICE session.")
        return generation

    def _restart(self, session: CallSession, fragment: Fragment) -> web.Response:
        if fragment.ufrag is None or fragment.password is None:  # they come together
            raise Problem("bad_fragment", "The fragment has no ICE credentials.")
        generation = self.generations.restart(session, fragment.ufrag, fragment.password)
        text = write_fragment(
            fragment,
            generation.local_ufrag,
            generation.local_password,
            session.offer.audio.mid,
            self._intake.relays,
        )
        headers = {"ETag": generation.tag}
        return web.Response(text=text, content_type=FRAGMENT_TYPE, headers=headers)


def _fragment(text: str) -> Fragment:
    try:
        return read_fragment(text)
    except FragmentRefused as refused:
        raise Problem(refused.code, refused.detail) from None


def _trickled(fragment: Fragment, generation: Generation) -> web.Response:
    if fragment.password not in (None, generation.remote_password):
        detail = "The same a=ice-ufrag came with another a=ice-pwd; a restart changes both."
        raise Problem("bad_ice_credentials", detail)
    return web.Response(status=204, headers={"ETag": generation.tag})
