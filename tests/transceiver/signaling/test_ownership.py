"""A call belongs to who placed it; for everybody else there is no such call."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse

from fleet.api_key import ApiKey, key_id
from tests.transceiver.front_door import RING, FrontDoor, front_door, problem
from tests.transceiver.offers import real_offer
from transceiver.call.principal import NOBODY, Principal
from transceiver.signaling.client_secret import ClientSecret, seal

FRAGMENT = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
KEYS = ("acme:first", "acme:second", "other:third", "alone")


@pytest.fixture
async def door() -> AsyncIterator[FrontDoor]:
    """An application with two keys of one tenant and two of others."""
    async with front_door(keys=KEYS) as running:
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def secret_of(key: str) -> str:
    """A new client secret that was made with that key."""
    return seal(RING, ClientSecret(2**40, "", key_id(key)))


async def placed(door: FrontDoor, holder: str) -> str:
    answer = await door.post_sdp("/v1/realtime/calls", real_offer(), **bearer(holder))
    assert answer.status == 201
    return answer.headers["Location"].rpartition("/")[2]


async def attempts(door: FrontDoor, call_id: str, holder: str) -> list[ClientResponse]:
    """Everything that can be asked about a call, the end of it last."""
    patch = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*", **bearer(holder)}
    asked = [
        ("GET", f"/v1/realtime?call_id={call_id}", "", bearer(holder)),
        ("PATCH", f"/whip/{call_id}", FRAGMENT, patch),
        ("POST", f"/v1/realtime/calls/{call_id}/hangup", "", bearer(holder)),
        ("DELETE", f"/whip/{call_id}", "", bearer(holder)),
    ]
    return [
        await door.ask(method, path, data=data, headers=headers)
        for method, path, data, headers in asked
    ]


async def test_somebody_elses_call_is_no_call(door: FrontDoor) -> None:
    """Every question about it is answered word for word as about an id that never was."""
    call_id = await placed(door, "first")
    for stranger in ("third", "alone"):
        about_it = await attempts(door, call_id, stranger)
        about_none = await attempts(door, "rtc_none", stranger)
        assert [r.status for r in about_it] == [404] * 4
        for one, none in zip(about_it, about_none, strict=True):
            assert await problem(one) == await problem(none)
    assert door.engine.find(call_id) is not None
    assert not door.engine.ended


async def test_keys_of_a_tenant_share_their_calls(door: FrontDoor) -> None:
    """So a key can be replaced by another while calls go on."""
    call_id = await placed(door, "first")
    assert (await door.ask("DELETE", f"/whip/{call_id}", headers=bearer("second"))).status == 200


async def test_a_page_has_the_calls_that_it_placed(door: FrontDoor) -> None:
    """Its secret hangs its own call up; another secret of the same key finds none."""
    mine, yours = secret_of("first"), secret_of("first")
    call_id = await placed(door, mine)
    path = f"/v1/realtime/calls/{call_id}/hangup"
    assert (await door.ask("POST", path, headers=bearer(yours))).status == 404
    assert (
        await door.ask("GET", f"/v1/realtime?call_id={call_id}", headers=bearer(yours))
    ).status == 404
    assert (await door.ask("POST", path, headers=bearer(mine))).status == 200


async def test_a_page_does_not_have_its_servers_calls(door: FrontDoor) -> None:
    """A secret is good for calls, not for those of whoever made it."""
    call_id = await placed(door, "first")
    path = f"/v1/realtime/calls/{call_id}/hangup"
    assert (await door.ask("POST", path, headers=bearer(secret_of("first")))).status == 404


async def test_a_server_has_its_pages_calls(door: FrontDoor) -> None:
    """It joins, as with OpenAI's API, and ends them, also with another key of its tenant."""
    secret = secret_of("first")
    for key in ("first", "second"):
        call_id = await placed(door, secret)
        socket = await door.connect(f"/v1/realtime?call_id={call_id}", headers=bearer(key))
        await socket.close()
        assert (await door.ask("DELETE", f"/whip/{call_id}", headers=bearer(key))).status == 200
    call_id = await placed(door, secret)
    assert (await door.ask("DELETE", f"/whip/{call_id}", headers=bearer("third"))).status == 404


async def test_a_secret_ends_with_its_key(door: FrontDoor) -> None:
    """A key that is taken out of the settings takes the secrets with it that were made with it."""
    answer = await door.post_sdp("/v1/realtime/calls", real_offer(), **bearer(secret_of("gone")))
    assert (await problem(answer))["code"] == "wrong_key"


async def test_a_refusal_says_nothing_of_other_calls(door: FrontDoor) -> None:
    """Before the key was checked nothing about the id is looked at."""
    call_id = await placed(door, "first")
    for path in (f"/whip/{call_id}", "/whip/rtc_none"):
        assert (await door.ask("DELETE", path, headers=bearer("nobody"))).status == 401


@pytest.mark.parametrize("text", [":key", "tenant:", "ten ant:key", "t: key", "", "ténant:key"])
def test_a_bad_key_is_refused_and_not_shown(text: str) -> None:
    """The rule is said, the key is not."""
    with pytest.raises(ValueError, match="KEY or TENANT:KEY") as refused:
        ApiKey.parse(text)
    assert not text or text not in str(refused.value)


def test_keys_and_tenants_are_read() -> None:
    """A key without a tenant is one by itself; a key may have colons after its tenant."""
    assert ApiKey.parse(" acme:a:b ") == ApiKey("acme", "a:b")
    assert ApiKey.parse("plain").tenant == key_id("plain")
    assert "plain" not in repr(ApiKey.parse("plain"))


def test_who_controls_what() -> None:
    """Tenants alone among themselves; of secrets the one that placed it."""
    server, page = Principal("acme", "k_1"), Principal("acme", "k_1", "s1")
    other_page, other = Principal("acme", "k_1", "s2"), Principal("other", "k_2")
    assert server.controls(server) and server.controls(page) and page.controls(page)
    assert not page.controls(server) and not page.controls(other_page)
    assert not other.controls(server) and not other.controls(page)
    assert not any(one.controls(NOBODY) for one in (server, page, other))
