"""The HTTP side of a call, as OpenAI's WebRTC clients speak it: raw SDP out, raw SDP back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp

from loadtest.errors import CallFailedError, CallRefusedError
from loadtest.target import Target

MAX_ANSWER_BYTES = 65536
REFUSALS = (429, 503)  # RFC 9110 section 10.2.3 and RFC 6585 section 4: may carry Retry-After


@dataclass(frozen=True)
class Answer:
    """The SDP answer and the absolute URL of the call."""

    sdp: str
    call_url: str


async def post_offer(
    session: aiohttp.ClientSession, target: Target, sdp: str, session_json: str = ""
) -> Answer:
    """Place a call, with the session object if there is one.

    Raises CallRefusedError, or CallFailedError `http_<status>`, `http_error` or `no_location`.
    """
    url = f"{target.url}/v1/realtime/calls"
    data, headers = _body(sdp, session_json)
    try:
        async with session.post(
            url, data=data, headers={**_authorization(target), **headers}
        ) as response:
            body = await response.content.read(MAX_ANSWER_BYTES)
            status, found = response.status, response.headers
    except aiohttp.ClientError as error:
        raise CallFailedError("http_error") from error
    location = found.get("Location")
    if status in REFUSALS:
        raise CallRefusedError(status, _retry_after_s(found))
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


def _authorization(target: Target) -> dict[str, str]:
    return {"Authorization": f"Bearer {target.api_key}"}


def _body(sdp: str, session_json: str) -> tuple[bytes | aiohttp.FormData, dict[str, str]]:
    """Raw SDP, or OpenAI's form of two parts; and the header that goes with it."""
    if not session_json:
        return sdp.encode(), {"Content-Type": "application/sdp"}
    form = aiohttp.FormData()
    form.add_field("sdp", sdp, content_type="application/sdp")
    form.add_field("session", session_json, content_type="application/json")
    return form, {}


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After in its form of seconds (RFC 9110 section 10.2.3); None for any other."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None
