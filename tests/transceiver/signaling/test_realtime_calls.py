"""The realtime calls API, the console page and the open paths, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse, FormData
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transceiver.front_door import KEY, FrontDoor, front_door, problem
from tests.transceiver.offers import real_offer
from transceiver.link.backends import ShownBackend
from transceiver.link.errors import BackendAbsent
from transceiver.signaling.console_page import ConsolePage, console_files
from transceiver.signaling.form import FormError, read_form

OFFER = real_offer()
CALLS = "/v1/realtime/calls"
SESSION = '{"type": "realtime", "model": "echo"}'


@pytest.fixture
async def door() -> AsyncIterator[FrontDoor]:
    """An application without console."""
    async with front_door() as running:
        yield running


def form(*fields: tuple[str, str | bytes, str]) -> bytes:
    """A form with boundary `b` of (name, content, media type or nothing)."""
    body = b""
    for name, content, media_type in fields:
        body += f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n'.encode()
        body += f"Content-Type: {media_type}\r\n".encode() if media_type else b""
        body += b"\r\n" + (content.encode() if isinstance(content, str) else content) + b"\r\n"
    return body + b"--b--\r\n"


async def post_form(door: FrontDoor, *fields: tuple[str, str | bytes, str]) -> ClientResponse:
    """POST a form of those fields."""
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return await door.ask("POST", CALLS, data=form(*fields), headers=headers)


SDP_FIELD = ("sdp", OFFER, "application/sdp")
SESSION_FIELD = ("session", SESSION, "application/json")


async def test_raw_offer(door: FrontDoor) -> None:
    """A raw SDP offer gets 201, an answer and the call's place."""
    response = await door.post_sdp(CALLS, OFFER)
    assert response.status == 201
    assert response.content_type == "application/sdp"
    assert response.headers["Location"] == f"{CALLS}/rtc_1"
    assert (await response.text()).startswith("v=0\r\n")
    assert door.engine.session_jsons == [""]
    assert door.engine.calls()[0].surface == "realtime"


async def test_form_with_session(door: FrontDoor) -> None:
    """A form's session goes to the backend as it came; other fields are passed over."""
    response = await post_form(door, ("other", "x", ""), SDP_FIELD, SESSION_FIELD)
    assert response.status == 201
    assert door.engine.session_jsons == [SESSION]


async def test_form_as_browsers_send_it(door: FrontDoor) -> None:
    """FormData made of two strings names no media types; that is fine."""
    response = await post_form(door, ("sdp", OFFER, ""), ("session", SESSION, ""))
    assert response.status == 201
    assert door.engine.session_jsons == [SESSION]


async def test_form_of_another_writer(door: FrontDoor) -> None:
    """A form that aiohttp's own client writes is read."""
    fields = FormData({"sdp": OFFER, "session": SESSION}, default_to_multipart=True)
    assert (await door.ask("POST", CALLS, data=fields)).status == 201
    assert door.engine.session_jsons == [SESSION]


async def test_form_without_session(door: FrontDoor) -> None:
    """The session may be left out."""
    assert (await post_form(door, SDP_FIELD)).status == 201
    assert door.engine.session_jsons == [""]


@pytest.mark.parametrize(
    ("session", "code"),
    [
        ("", "bad_session"),
        ("model=echo", "bad_session"),
        ('["realtime"]', "bad_session"),
        ('"realtime"', "bad_session"),
        ('{"a": NaN}', "bad_session"),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "bad_session"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "bad_session"),  # the interpreter could
        (b"\xff{}", "bad_session"),
        ('{"a": "' + "x" * 65536 + '"}', "too_large"),
    ],
)
async def test_bad_sessions(door: FrontDoor, session: str | bytes, code: str) -> None:
    """A session that is no JSON object, or a huge one, makes no call."""
    response = await post_form(door, SDP_FIELD, ("session", session, "application/json"))
    assert response.status in (400, 413)
    assert (await problem(response))["code"] == code
    assert not door.engine.calls()


async def test_form_without_sdp_or_with_odd_types(door: FrontDoor) -> None:
    """A form needs the field sdp, and its fields the types they are read as."""
    for response in (
        await post_form(door, SESSION_FIELD),
        await post_form(door, ("sdp", OFFER, "image/png")),
        await post_form(door, SDP_FIELD, ("session", SESSION, "application/xml")),
    ):
        assert response.status == 400
        assert (await problem(response))["code"] == "bad_form"
    large = await post_form(door, ("sdp", OFFER + "a=x\r\n" * 14_000, ""))
    assert (await problem(large))["code"] == "too_large"


@pytest.mark.parametrize(
    ("boundary", "body"),
    [
        ("", b"--b--\r\n"),
        ("boundary=b", b""),
        ("boundary=b", b"no boundary here"),
        ("boundary=b", b"--b\r\n"),
        ("boundary=b", b'--b\r\nContent-Disposition: form-data; name="sdp"\r\n\r\nv=0'),
        ("boundary=b", b"--b\r\n\r\nv=0\r\n--b--\r\n"),
        ("boundary=b", b"--b\r\nno header end\r\n--b--\r\n"),
        ("boundary=b", b'--b\r\nContent-Disposition: x; name="a"\r\n\r\n1\r\n' * 2 + b"--b--\r\n"),
        ("boundary=b", b"--b\r\n\r\n1\r\n" * 20 + b"--b--\r\n"),
        ("boundary=" + "b" * 71, b"--" + b"b" * 71 + b"--\r\n"),
    ],
)
async def test_malformed_forms(door: FrontDoor, boundary: str, body: bytes) -> None:
    """A body that is no form is 400 and says what is wrong."""
    headers = {"Content-Type": f"multipart/form-data; {boundary}"}
    response = await door.ask("POST", CALLS, data=body, headers=headers)
    assert response.status == 400
    assert (await problem(response))["code"] == "bad_form"


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=90) | st.just("multipart/form-data; boundary=b"),
    st.lists(
        st.binary(max_size=20)
        | st.sampled_from(
            [b"--b", b"--b--", b"\r\n", b"\r\n\r\n", b'Content-Disposition: form-data; name="sdp"']
        )
    ).map(b"".join),
)
def test_any_form_is_read_or_refused(content_type: str, body: bytes) -> None:
    """Any header and body give fields or FormError, and nothing else."""
    try:
        fields = read_form(content_type, body)
    except FormError:
        return
    assert all(name for name in fields)


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,9}\Z"), st.binary(max_size=40), max_size=8))
def test_a_form_reads_back(contents: dict[str, bytes]) -> None:
    """What is written as a form comes back field by field, bytes unchanged."""
    contents = {name: content.replace(b"--b", b"") for name, content in contents.items()}
    body = form(*((name, content, "") for name, content in contents.items()))
    if contents:
        fields = read_form('multipart/form-data; boundary="b"', body)
        assert {name: field.content for name, field in fields.items()} == contents


async def test_hang_up(door: FrontDoor) -> None:
    """Hanging up answers 200 once, then 404."""
    place = (await door.post_sdp(CALLS, OFFER)).headers["Location"]
    assert (await door.ask("POST", f"{place}/hangup")).status == 200
    assert door.engine.ended == [("rtc_1", "hangup")]
    again = await door.ask("POST", f"{place}/hangup")
    assert again.status == 404
    assert (await problem(again))["error"]["code"] == "no_such_call"


async def test_both_surfaces_share_their_ids(door: FrontDoor) -> None:
    """A call made here can be ended as a WHIP session."""
    await door.post_sdp(CALLS, OFFER)
    assert (await door.ask("DELETE", "/whip/rtc_1")).status == 200


async def test_errors_have_the_shape_openai_clients_read(door: FrontDoor) -> None:
    """A refusal carries `error` with message, type, code and param beside the problem's members."""
    bad = await problem(await door.post_sdp(CALLS, "no sdp"))
    assert bad["error"]["type"] == "invalid_request_error"
    assert bad["detail"] in bad["error"]["message"]
    assert (bad["error"]["code"], bad["error"]["param"]) == ("not_sdp", None)
    door.engine.full = BackendAbsent("nobody")
    absent = await door.post_sdp(CALLS, OFFER)
    assert (await problem(absent))["error"]["type"] == "server_error"
    assert absent.headers["Retry-After"]
    whip = await problem(await door.post_sdp("/whip", "no sdp"))
    assert "error" not in whip


async def test_an_unknown_backend_is_the_callers_mistake(door: FrontDoor) -> None:
    """A session that names a backend nobody has gets 422, and no Retry-After."""
    session = '{"trunkline": {"backend": "nobody"}}'
    response = await post_form(door, SDP_FIELD, ("session", session, ""))
    refusal = await problem(response)
    assert (response.status, refusal["code"]) == (422, "unknown_backend")
    assert "Retry-After" not in response.headers


async def test_keys_types_and_methods(door: FrontDoor) -> None:
    """The same rules as for WHIP: 401 without key, 415 for other bodies, 405 for other methods."""
    bare = {"Authorization": None}
    assert (await door.ask("POST", CALLS, headers=bare)).status == 401
    assert (await door.ask("POST", f"{CALLS}/rtc_1/hangup", headers=bare)).status == 401
    other = await door.ask("POST", CALLS, json={})
    assert other.status == 415
    assert other.headers["Accept-Post"] == "application/sdp, multipart/form-data"
    assert (await door.ask("GET", CALLS)).status == 405
    assert (await door.ask("GET", f"{CALLS}/rtc_1/hangup")).status == 405
    for path in (CALLS, f"{CALLS}/rtc_1/hangup"):
        assert (await door.ask("OPTIONS", path, headers=bare)).status == 204


async def test_concurrent_creates(door: FrontDoor) -> None:
    """Raw offers and forms at once make as many calls, each with its own session."""
    raw = [door.post_sdp(CALLS, OFFER) for _ in range(20)]
    forms = [post_form(door, SDP_FIELD, ("session", json.dumps({"n": n}), "")) for n in range(20)]
    responses = await asyncio.gather(*raw, *forms)
    assert {response.status for response in responses} == {201}
    assert len({response.headers["Location"] for response in responses}) == 40
    expected = [""] * 20 + [json.dumps({"n": n}) for n in range(20)]
    assert sorted(door.engine.session_jsons) == sorted(expected)


async def test_healthz_follows_readiness(door: FrontDoor) -> None:
    """It is 200 when callers may come and 503 when not, and needs no key."""
    assert (await door.ask("GET", "/healthz", headers={"Authorization": None})).status == 200
    door.ready = False
    assert (await door.ask("GET", "/healthz")).status == 503


async def test_metrics_show_counters_and_calls(door: FrontDoor) -> None:
    """A scrape has the engine's counters by name and the number of live calls."""
    door.engine.counters["unknown_ufrag"] = 7
    await door.post_sdp(CALLS, OFFER)
    response = await door.ask("GET", "/metrics", headers={"Authorization": None})
    assert response.content_type == "text/plain"
    text = await response.text()
    assert 'trunkline_transceiver_events_total{event="unknown_ufrag"} 7.0' in text
    assert "trunkline_transceiver_calls 1.0" in text


def page(files: dict[str, bytes] | None = None) -> ConsolePage:
    """A console page of two files."""
    backends = [ShownBackend("a", "voice", "ready"), ShownBackend("b", "", "away")]
    files = files or {"index.html": b"<p>\xc3\xa9", "app.js": b"1"}
    return ConsolePage(KEY, "1.2.3", lambda: backends, files)


async def test_console_files_have_a_strict_policy() -> None:
    """The page and its files come with their types and a CSP without inline anything."""
    async with front_door(console=page()) as door:
        index = await door.ask("GET", "/", headers={"Authorization": None})
        script = await door.ask("GET", "/console/app.js")
        missing = await door.ask("GET", "/__init__.py")
    assert index.headers["Content-Type"] == "text/html; charset=utf-8"
    assert script.content_type == "text/javascript"
    policy = index.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert missing.status == 404


async def test_console_config() -> None:
    """The page learns the key, where to call, the version and the backends; nothing caches it."""
    async with front_door(console=page()) as door:
        response = await door.ask("GET", "/console/config.json", headers={"Origin": "https://x"})
    assert await response.json() == {
        "key": KEY,
        "calls_url": CALLS,
        "version": "1.2.3",
        "backends": [
            {"name": "a", "kind": "voice", "state": "ready"},
            {"name": "b", "kind": "", "state": "away"},
        ],
    }
    assert response.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:80", 200), ("[::1]:80", 200), ("evil.example:80", 403), ("localhost.evil", 403)],
)
async def test_console_config_is_only_for_names_no_stranger_can_point(
    host: str, status: int
) -> None:
    """Under a foreign name, as in DNS rebinding, the key is not given out."""
    async with front_door(console=page()) as door:
        response = await door.ask("GET", "/console/config.json", headers={"Host": host})
    assert response.status == status


def test_console_package_has_a_page() -> None:
    """The files of the console package are found, and no Python among them."""
    files = console_files()
    assert "index.html" in files
    assert not any(name.endswith(".py") for name in files)
