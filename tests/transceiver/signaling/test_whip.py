"""WHIP over a real socket: every status of RFC 9725 that we give, and what leads to it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse

from tests.transceiver.front_door import RELAYS, FrontDoor, front_door, problem
from tests.transceiver.offers import real_offer, replaced, without
from transceiver.engine.refusals import Draining, TooManyCalls
from transceiver.link.errors import BackendAbsent, BackendRefused, CallLimit
from transceiver.signaling.generations import Generations, matches

OFFER = real_offer()
UFRAG, PASSWORD = "oUeR", "3Uxu1FufXkBItewjW16Iz98o"
FRAGMENT = "application/trickle-ice-sdpfrag"


@pytest.fixture
async def door() -> AsyncIterator[FrontDoor]:
    """An application with two keys."""
    async with front_door() as running:
        yield running


def fragment(ufrag: str = UFRAG, password: str = PASSWORD) -> str:
    """A fragment with one trickled candidate."""
    return (
        f"a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n"
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
        "a=candidate:1 1 udp 2122262783 192.0.2.1 50000 typ host\r\na=end-of-candidates\r\n"
    )


async def patch(
    door: FrontDoor, place: str, text: str, tag: str | None, content_type: str = FRAGMENT
) -> ClientResponse:
    """PATCH a session; without If-Match when `tag` is None."""
    headers = {"Content-Type": content_type} | ({"If-Match": tag} if tag else {})
    return await door.ask("PATCH", place, data=text, headers=headers)


async def test_create_answers_201(door: FrontDoor) -> None:
    """A POST with an offer makes a call and answers it, with its place and its ICE tag."""
    response = await door.post_sdp("/whip", OFFER)
    assert response.status == 201
    assert response.content_type == "application/sdp"
    assert response.headers["Location"] == "/whip/rtc_1"
    assert response.headers["ETag"].startswith('"')
    assert response.headers["Accept-Patch"] == FRAGMENT
    answer = await response.text()
    assert "a=ice-lite" in answer
    assert "a=ice-ufrag:ufrag1x0" in answer
    assert f" {RELAYS[0].host} {RELAYS[0].port} typ host" in answer
    assert "127.0.0.1" not in answer
    assert [call.surface for call in door.engine.calls()] == ["whip"]


async def test_delete_ends_the_call_once(door: FrontDoor) -> None:
    """DELETE answers 200, a second one 404 with a problem."""
    place = (await door.post_sdp("/whip", OFFER)).headers["Location"]
    assert (await door.ask("DELETE", place)).status == 200
    assert door.engine.ended == [("rtc_1", "hangup")]
    again = await door.ask("DELETE", place)
    assert again.status == 404
    assert (await problem(again))["code"] == "no_such_call"


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("", 400, "not_sdp"),
        ("not an offer", 400, "not_sdp"),
        (b"v=0\r\n\xff\xfe", 400, "not_sdp"),
        (replaced(OFFER, "m=audio", "m=video"), 422, "no_audio"),
        (replaced(OFFER, "opus/48000/2", "speex/8000"), 422, "no_opus"),
        (without(OFFER, "a=fingerprint"), 422, "no_fingerprint"),
        (replaced(OFFER, "a=setup:actpass", "a=setup:holdconn"), 422, "bad_setup"),
        (OFFER + "a=x\r\n" * 200_000, 413, "too_large"),
    ],
)
async def test_bad_offers(door: FrontDoor, text: str | bytes, status: int, code: str) -> None:
    """An offer that is refused makes no call, and the problem has the rule's code."""
    response = await door.post_sdp("/whip", text)
    assert response.status == status
    assert (await problem(response))["code"] == code
    assert not door.engine.calls()


async def test_a_large_body_of_unknown_length_is_cut_off(door: FrontDoor) -> None:
    """A chunked megabyte gets 413 as soon as it is over the limit."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"v" * 16384

    headers = {"Content-Type": "application/sdp"}
    response = await door.ask("POST", "/whip", data=chunks(), headers=headers)
    assert response.status == 413


async def test_a_body_that_does_not_come_gets_408() -> None:
    """A caller that announces a body and does not send it is not waited for."""
    async with front_door(body_timeout_s=0.05) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        head = "POST /whip HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key-one\r\n"
        head += "Content-Type: application/sdp\r\nContent-Length: 100\r\n\r\nv=0"
        writer.write(head.encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code": "request_timeout"' in answer


async def test_a_request_head_that_does_not_come_ends_the_connection() -> None:
    """A connection on which a request never gets finished is closed."""
    async with front_door(idle_timeout_s=0.05) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"POST /whip HT")
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_connections_beyond_the_bound_are_closed() -> None:
    """With as many connections as allowed, the next one is turned away."""
    async with front_door(max_connections=1) as door:
        assert (await door.ask("GET", "/healthz")).status == 200  # and its connection stays
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_wrong_content_type_gets_415(door: FrontDoor) -> None:
    """A body of another type, or compressed, is refused with what would be accepted."""
    response = await door.ask("POST", "/whip", json={"sdp": OFFER})
    assert (response.status, response.headers["Accept-Post"]) == (415, "application/sdp")
    packed = await door.post_sdp("/whip", OFFER, **{"Content-Encoding": "gzip"})
    assert packed.status == 415


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
async def test_endpoint_allows_post_and_options(door: FrontDoor, method: str) -> None:
    """Other methods on the endpoint get 405 and Allow."""
    response = await door.ask(method, "/whip")
    assert response.status == 405
    assert set(response.headers["Allow"].split(",")) == {"POST", "OPTIONS"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
async def test_session_allows_patch_delete_and_options(door: FrontDoor, method: str) -> None:
    """Other methods on a session get 405 and Allow."""
    response = await door.ask(method, "/whip/rtc_1")
    assert response.status == 405
    assert set(response.headers["Allow"].split(",")) == {"PATCH", "DELETE", "OPTIONS"}


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_key"),
        ("Basic a2V5LW9uZTo=", "missing_key"),
        ("Bearer", "missing_key"),
        ("Bearer key-three", "wrong_key"),
        ("Bearer key-one2", "wrong_key"),
        ("Bearer key-\xfc", "wrong_key"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/whip"), ("PATCH", "/whip/rtc_1"), ("DELETE", "/whip/rtc_1")]
)
async def test_a_key_is_needed(
    door: FrontDoor, method: str, path: str, header: str | None, code: str
) -> None:
    """Without a good key every method gets 401 and a challenge, and does nothing."""
    await door.post_sdp("/whip", OFFER)
    response = await door.ask(method, path, headers={"Authorization": header}, data="v=0")
    assert response.status == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")
    assert (await problem(response))["code"] == code
    assert len(door.engine.calls()) == 1


async def test_every_key_is_good_and_the_scheme_has_no_case(door: FrontDoor) -> None:
    """The second key works too, and `bearer` may be written in any case (RFC 9110 §11.1)."""
    response = await door.post_sdp("/whip", OFFER, Authorization="bEARER  key-two ")
    assert response.status == 201


async def test_trickled_candidates_get_204(door: FrontDoor) -> None:
    """Candidates with the known credentials are accepted and change nothing."""
    created = await door.post_sdp("/whip", OFFER)
    place, tag = created.headers["Location"], created.headers["ETag"]
    response = await patch(door, place, fragment(), tag)
    assert (response.status, response.headers["ETag"]) == (204, tag)
    bare = await patch(door, place, "a=end-of-candidates\r\n", tag)
    assert bare.status == 204
    assert door.engine.calls()[0].restarts == 0


@pytest.mark.parametrize("use_any", [True, False])
async def test_new_credentials_restart_ice(door: FrontDoor, use_any: bool) -> None:
    """New credentials get 200, our new ones, the relays and a new tag; the old tag is stale."""
    created = await door.post_sdp("/whip", OFFER)
    place, tag = created.headers["Location"], created.headers["ETag"]
    text = fragment("newU", "n" * 22)
    response = await patch(door, place, text, "*" if use_any else tag)
    assert response.status == 200
    assert response.content_type == FRAGMENT
    assert response.headers["ETag"] not in (tag, "")
    lines = (await response.text()).split("\r\n")
    assert "a=ice-ufrag:ufrag1x1" in lines
    assert "a=mid:0" in lines
    assert "a=candidate:1 1 udp 2130706431 203.0.113.10 3478 typ host" in lines
    stale = await patch(door, place, text, tag)
    assert (stale.status, (await problem(stale))["code"]) == (412, "stale_etag")
    trickled = await patch(door, place, text, response.headers["ETag"])
    assert trickled.status == 204
    assert door.engine.calls()[0].restarts == 1


async def test_patch_needs_if_match(door: FrontDoor) -> None:
    """Without If-Match a PATCH gets 428, with another tag 412 (RFC 9725 §4.3.1)."""
    place = (await door.post_sdp("/whip", OFFER)).headers["Location"]
    assert (await patch(door, place, fragment(), None)).status == 428
    assert (await patch(door, place, fragment(), '"other"')).status == 412


def test_if_match_is_a_list() -> None:
    """One of several tags is enough; weak tags never match (RFC 9110 §13.1.1)."""
    assert matches('"a", "b"', '"b"')
    assert matches(" * ", '"b"')
    assert not matches('W/"b"', '"b"')


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad_fragment"),
        ("hello", "bad_fragment"),
        ("a=ice-ufrag:abcd\r\n", "bad_fragment"),
        ("a=ice-pwd:" + "p" * 22, "bad_fragment"),
        (fragment() + "a=ice-ufrag:efgh\r\n", "bad_fragment"),
        ("m=audio 9 X 0\r\n" * 33, "bad_fragment"),
        (fragment("a:b!", PASSWORD), "bad_ice_credentials"),
        (fragment(UFRAG, "p" * 22), "bad_ice_credentials"),
        (b"\xff", "bad_fragment"),
    ],
)
async def test_bad_fragments(door: FrontDoor, text: str, code: str) -> None:
    """A fragment that cannot be used changes nothing."""
    place = (await door.post_sdp("/whip", OFFER)).headers["Location"]
    response = await patch(door, place, text, "*")
    assert response.status in (400, 422)
    assert (await problem(response))["code"] == code
    assert door.engine.calls()[0].restarts == 0


async def test_patch_of_another_type_or_of_no_call(door: FrontDoor) -> None:
    """PATCH with another type gets 415 with Accept-Patch, and of an unknown call 404."""
    place = (await door.post_sdp("/whip", OFFER)).headers["Location"]
    other = await patch(door, place, OFFER, "*", "application/sdp")
    assert (other.status, other.headers["Accept-Patch"]) == (415, FRAGMENT)
    unknown = await patch(door, "/whip/rtc_nobody", fragment(), "*")
    assert unknown.status == 404
    large = await patch(door, place, "a=x\r\n" * 5000, "*")
    assert large.status == 413


async def test_options_need_no_key(door: FrontDoor) -> None:
    """OPTIONS tells what may be sent, to anybody and for any id."""
    endpoint = await door.ask("OPTIONS", "/whip", headers={"Authorization": None})
    assert (endpoint.status, endpoint.headers["Accept-Post"]) == (204, "application/sdp")
    session = await door.ask("OPTIONS", "/whip/rtc_x", headers={"Authorization": None})
    assert (session.status, session.headers["Accept-Patch"]) == (204, FRAGMENT)


async def test_preflight_lets_any_page_in(door: FrontDoor) -> None:
    """A browser's preflight gets the methods and headers of the API."""
    asked = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,if-match",
        "Authorization": None,
    }
    response = await door.ask("OPTIONS", "/whip/rtc_1", headers=asked)
    assert response.status == 204
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "PATCH" in response.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]


async def test_pages_may_read_headers_and_refusals(door: FrontDoor) -> None:
    """Location, ETag, Link and Retry-After are exposed, and errors can be read across origins."""
    created = await door.post_sdp("/whip", OFFER, Origin="https://page.example")
    exposed = created.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"Location", "ETag", "Link", "Retry-After"} <= set(exposed)
    refused = await door.post_sdp("/whip", "x", Origin="https://page.example")
    assert refused.headers["Access-Control-Allow-Origin"] == "*"


async def test_origins_can_be_listed() -> None:
    """With a list only its pages may call, and caches are told that it depends."""
    async with front_door(origins=("https://good.example",)) as door:
        good = await door.post_sdp("/whip", OFFER, Origin="https://good.example")
        bad = await door.post_sdp("/whip", OFFER, Origin="https://bad.example")
    assert good.headers["Access-Control-Allow-Origin"] == "https://good.example"
    assert "Access-Control-Allow-Origin" not in bad.headers
    assert good.headers["Vary"] == bad.headers["Vary"] == "Origin"


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (TooManyCalls("full"), "too_many_calls"),
        (Draining("leaving"), "draining"),
        (BackendAbsent("nobody"), "backend_absent"),
        (CallLimit("full"), "backend_full"),
    ],
)
async def test_no_call_can_be_made(door: FrontDoor, refusal: Exception, code: str) -> None:
    """What keeps the engine from making a call is 503 with Retry-After."""
    door.engine.full = refusal
    response = await door.post_sdp("/whip", OFFER)
    assert response.status == 503
    assert 1 <= int(response.headers["Retry-After"]) <= 3
    assert (await problem(response))["code"] == code


@pytest.mark.parametrize(
    ("refusal", "code", "reason"),
    [
        (BackendRefused("for the operator"), "backend_refused", "refused"),
        (BackendAbsent("lost"), "backend_absent", "failed"),
        (TimeoutError(), "backend_absent", "failed"),
    ],
)
async def test_the_backend_does_not_take_the_call(
    door: FrontDoor, refusal: Exception, code: str, reason: str
) -> None:
    """A call that the backend does not take is ended and answered with 503."""
    door.engine.refusal = refusal
    response = await door.post_sdp("/whip", OFFER)
    assert response.status == 503
    members = await problem(response)
    assert members["code"] == code
    assert "operator" not in members["detail"]
    assert door.engine.ended == [("rtc_1", reason)]


async def test_a_call_that_ends_before_its_answer_is_not_answered(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that takes a call and hangs up at once has refused it."""
    monkeypatch.setattr(door.engine, "find", lambda _call_id: None)
    response = await door.post_sdp("/whip", OFFER)
    assert (response.status, (await problem(response))["code"]) == (503, "backend_refused")


async def test_a_bug_is_500_and_says_nothing(door: FrontDoor) -> None:
    """An exception nobody thought of becomes a problem without its text."""
    door.engine.refusal = RuntimeError("secret detail")
    response = await door.post_sdp("/whip", OFFER)
    assert response.status == 500
    assert "secret" not in await response.text()
    assert not door.engine.calls()


async def test_unknown_paths_are_problems(door: FrontDoor) -> None:
    """A path that leads nowhere is 404 as problem+json, without the console also `/`."""
    for path in ("/", "/nothing", "/whip/rtc_1/more", "/console/config.json"):
        response = await door.ask("GET", path)
        assert response.status == 404
        assert (await problem(response))["code"] == "not_found"


async def test_concurrent_creates_make_separate_calls(door: FrontDoor) -> None:
    """Fifty POSTs at once make fifty calls with places of their own."""
    responses = await asyncio.gather(*(door.post_sdp("/whip", OFFER) for _ in range(50)))
    assert {response.status for response in responses} == {201}
    assert len({response.headers["Location"] for response in responses}) == 50
    assert len({response.headers["ETag"] for response in responses}) == 50


async def test_restarted_calls_are_forgotten_with_their_session(door: FrontDoor) -> None:
    """What PATCH remembers of a call goes when the call is gone."""
    await door.post_sdp("/whip", OFFER)
    generations = Generations()
    generations.restart(door.engine.calls()[0], "newU", "n" * 22)
    assert len(generations) == 1
    door.engine.end("rtc_1", "hangup")
    gc.collect()
    assert len(generations) == 0
