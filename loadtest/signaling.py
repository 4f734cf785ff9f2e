"""The HTTP side of a call, as OpenAI's WebRTC clients speak it: raw SDP out, raw SDP back."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp

from loadtest.errors import CallFailedError
from loadtest.target import Target

MAX_ANSWER_BYTES = 65536


@dataclass(frozen=True)
class Answer:
    """The SDP answer and the absolute URL of the call."""

    sdp: str
    call_url: str


async def post_offer(
    session: aiohttp.ClientSession, target: Target, sdp: str, session_json: str = ""
) -> Answer:
    """Place a call, with a session object if one is given.

    Raises CallFailedError `http_<status>`, `http_error` or `no_location`.
    """
    url = f"{target.url}/v1/realtime/calls"
    headers, data = _authorization(target), _form(sdp, session_json)
    if not session_json:
        headers["Content-Type"] = "application/sdp"
    try:
        async with session.post(url, data=data, headers=headers) as response:
            body = await response.content.read(MAX_ANSWER_BYTES)
            status, location = response.status, response.headers.get("Location")
    except aiohttp.ClientError as error:
        raise CallFailedError("http_error") from error
    if status != 201:
        raise CallFailedError(f"http_{status}")
    if not location:
        raise CallFailedError("no_location")
    return Answer(body.decode(errors="replace"), urljoin(url, location))


async def hang_up(session: aiohttp.ClientSession, target: Target, answer: Answer) -> None:
    """End a call. Raises CallFailedError `hangup_http_<status>` or `http_error`."""
    url = f"{answer.call_url}/hangup"
    try:
        async with session.post(url, headers=_authorization(target)) as response:
            if response.status not in (200, 204):
                raise CallFailedError(f"hangup_http_{response.status}")
    except aiohttp.ClientError as error:
        raise CallFailedError("http_error") from error


def _form(sdp: str, session_json: str) -> bytes | aiohttp.FormData:
    if not session_json:
        return sdp.encode()
    form = aiohttp.FormData()
    form.add_field("sdp", sdp, content_type="application/sdp")
    form.add_field("session", session_json, content_type="application/json")
    return form


def _authorization(target: Target) -> dict[str, str]:
    return {"Authorization": f"Bearer {target.api_key}"}
