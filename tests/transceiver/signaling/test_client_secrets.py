"""Client secrets over HTTP: made with a key, good for calls, good for nothing else."""

from __future__ import annotations

import json
import random
import string
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse

from fleet.api_key import key_id
from tests.transceiver.front_door import RING, FrontDoor, front_door, problem
from tests.transceiver.offers import real_offer
from transceiver.signaling.client_secret import ClientSecret, seal

SECRETS = "/v1/realtime/client_secrets"
CALLS = "/v1/realtime/calls"
OFFER = real_offer()
SESSION = {"type": "realtime", "instructions": "Be brief.", "model": "echo"}


@pytest.fixture
async def door() -> AsyncIterator[FrontDoor]:
    """An application without console."""
    async with front_door() as running:
        yield running


async def _secret(door: FrontDoor, **wish: Any) -> dict[str, Any]:
    response = await door.ask("POST", SECRETS, json=wish)
    assert response.status == 200, await response.text()
    members: dict[str, Any] = json.loads(await response.text())
    return members


async def _call(door: FrontDoor, secret: str, path: str = CALLS) -> ClientResponse:
    return await door.post_sdp(path, OFFER, Authorization=f"Bearer {secret}")


async def test_a_secret_places_calls_with_its_session(door: FrontDoor) -> None:
    """Several calls get the session that was bound; the answer shows it and when it expires."""
    before = int(time.time())
    made = await _secret(door, session=SESSION, expires_after={"seconds": 60})
    assert made["value"].startswith("ek_")
    assert before + 60 <= made["expires_at"] <= int(time.time()) + 60
    assert made["session"].items() >= {**SESSION, "object": "realtime.session"}.items()
    for _ in range(2):
        assert (await _call(door, made["value"])).status == 201
    assert [json.loads(one) for one in door.engine.session_jsons] == [SESSION] * 2


async def test_a_secret_needs_nothing_and_lasts_ten_minutes(door: FrontDoor) -> None:
    """Without a body there is a secret with the defaults of the API."""
    response = await door.ask("POST", SECRETS)
    made = json.loads(await response.text())
    assert abs(made["expires_at"] - time.time() - 600) < 5
    assert (await _call(door, made["value"])).status == 201
    assert door.engine.session_jsons == [""]


async def test_a_call_may_bring_members_of_its_own(door: FrontDoor) -> None:
    """What the form says stands over what was bound, member by member; a page's word for the model
    is passed over."""
    made = await _secret(door, session=SESSION)
    headers = {
        "Authorization": f"Bearer {made['value']}",
        "Content-Type": "multipart/form-data; boundary=b",
    }
    fields = {"sdp": OFFER, "session": '{"instructions": "other", "model": "other"}'}
    body = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{content}\r\n'
        for name, content in fields.items()
    )
    response = await door.ask("POST", CALLS, data=body + "--b--\r\n", headers=headers)
    assert response.status == 201
    assert json.loads(door.engine.session_jsons[0]) == {**SESSION, "instructions": "other"}


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ('{"tools": [{"type": "mcp", "server_label": "s"}]}', "session.tools"),
        ('{"prompt": {"id": "pmpt_1"}}', "session.prompt"),
        ('{"trunkline": {"backend": "dear"}}', "session.trunkline"),
    ],
)
async def test_a_page_may_not_place_what_spends(door: FrontDoor, session: str, param: str) -> None:
    """It is refused in words that name the member; a server with its key may."""
    made = await _secret(door, session=SESSION)
    fields = {"sdp": OFFER, "session": session}
    body = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{content}\r\n'
        for name, content in fields.items()
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    page = {**headers, "Authorization": f"Bearer {made['value']}"}
    refused = await door.ask("POST", CALLS, data=body + "--b--\r\n", headers=page)
    assert refused.status == 403
    answer = await problem(refused)
    assert answer["code"] == answer["error"]["code"] == "not_allowed_for_page"
    assert param in answer["detail"]
    assert not door.engine.session_jsons
    if "trunkline" not in session:
        allowed = await door.ask("POST", CALLS, data=body + "--b--\r\n", headers=headers)
        assert allowed.status == 201


async def test_a_secret_hangs_up(door: FrontDoor) -> None:
    """Who placed a call with a secret ends it with the secret."""
    made = await _secret(door)
    call = await _call(door, made["value"])
    path = call.headers["Location"] + "/hangup"
    headers = {"Authorization": f"Bearer {made['value']}"}
    assert (await door.ask("POST", path, headers=headers)).status == 200
    assert door.engine.ended == [("rtc_1", "hangup")]


async def test_a_secret_makes_no_secrets_and_no_whip_calls(door: FrontDoor) -> None:
    """What is for a page is not for more than a page needs."""
    value = (await _secret(door))["value"]
    more = await door.ask("POST", SECRETS, headers={"Authorization": f"Bearer {value}"})
    for response in (more, await _call(door, value, "/whip")):
        assert response.status == 401
        assert (await problem(response))["code"] == "wrong_key"


@pytest.mark.parametrize(
    ("secret", "code"),
    [
        ("ek_", "wrong_key"),
        ("ek_nonsense", "wrong_key"),
        ("ek_" + "A" * 7000, "wrong_key"),
        (seal(RING, ClientSecret(1, "", key_id("any"))), "expired_secret"),
    ],
)
async def test_bad_secrets_place_no_call(door: FrontDoor, secret: str, code: str) -> None:
    """Forged and expired secrets are 401, and the answer says which."""
    response = await _call(door, secret)
    assert response.status == 401
    assert (await problem(response))["code"] == code
    assert "invalid_token" in response.headers["WWW-Authenticate"]
    assert not door.engine.calls()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "bad_secret_request"),
        ("[]", "bad_secret_request"),
        ('{"session": []}', "bad_secret_request"),
        ('{"expires_after": {"seconds": 9}}', "bad_secret_request"),
        ('{"expires_after": {"seconds": 7201}}', "bad_secret_request"),
        ('{"expires_after": {"seconds": "60"}}', "bad_secret_request"),
        ('{"expires_after": {"anchor": "now"}}', "bad_secret_request"),
        ('{"minutes": 10}', "bad_secret_request"),
        ('{"session": {"a": "' + "x" * 70_000 + '"}}', "too_large"),
        (b"\xff", "bad_secret_request"),
    ],
)
async def test_bad_requests(door: FrontDoor, body: str | bytes, code: str) -> None:
    """One clear error each, with the member that OpenAI's clients read."""
    response = await door.ask("POST", SECRETS, data=body)
    found = await problem(response)
    assert found["code"] == code
    assert found["error"]["type"] == "invalid_request_error"


async def test_a_session_that_does_not_fit_is_refused(door: FrontDoor) -> None:
    """Noise cannot be deflated below a header line."""
    noise = "".join(random.Random(1).choices(string.ascii_letters, k=30_000))
    response = await door.ask("POST", SECRETS, json={"session": {"instructions": noise}})
    assert response.status == 413
    assert (await problem(response))["code"] == "session_too_large"
