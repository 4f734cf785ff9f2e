"""A side band hears what the caller is sent and says what the caller may say, and harms nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from fleet.api_key import key_id
from tests.transceiver.front_door import (
    AUTHORIZED,
    KEY,
    RING,
    FakeSession,
    FrontDoor,
    front_door,
    problem,
)
from tests.transceiver.offers import real_offer
from transceiver.call.sidebands import MAX_LISTENERS, MAX_OPENING_CHARS, Sidebands
from transceiver.signaling import sideband
from transceiver.signaling.client_secret import ClientSecret, seal
from transceiver.signaling.sideband import _Mailbox

JOIN = "/v1/realtime?call_id=rtc_1"
CREATED = '{"type":"session.created","event_id":"e1","session":{"voice":"joe"}}'


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.ended = 0

    def hear(self, text: str) -> None:
        self.heard.append(text)

    def call_ended(self) -> None:
        self.ended += 1


@pytest.fixture
async def door() -> AsyncIterator[FrontDoor]:
    """An application with one live call, rtc_1."""
    async with front_door() as running:
        await running.post_sdp("/v1/realtime/calls", real_offer())
        yield running


def _call(door: FrontDoor) -> FakeSession:
    session = door.engine.find("rtc_1")
    assert session is not None
    return session


async def _closed(socket: ClientWebSocketResponse) -> int | None:
    """How the socket was closed, after what came before."""
    ends = {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}
    while (await socket.receive(10)).type not in ends:
        pass
    return socket.close_code


def test_listeners_hear_in_order_from_the_session_on() -> None:
    """A newcomer is told the session as it is now, then everything; who left hears nothing."""
    sidebands, early, late = Sidebands(), Ear(), Ear()
    assert sidebands.join(early)
    sidebands.tell(CREATED)
    sidebands.tell(CREATED.replace("created", "updated").replace("joe", "amy"))
    assert sidebands.join(late)
    sidebands.leave(early)
    sidebands.leave(early)
    sidebands.tell("more")
    assert len(early.heard) == 2
    assert late.heard == [CREATED.replace("joe", "amy"), "more"]
    sidebands.end()
    sidebands.tell("nothing")
    assert (early.ended, late.ended, len(late.heard)) == (0, 1, 2)


def test_listeners_are_bounded() -> None:
    """A call has so many, and keeps no opening that is huge."""
    sidebands = Sidebands()
    sidebands.tell('{"type":"session.created",' + " " * MAX_OPENING_CHARS)
    ears = [Ear() for _ in range(MAX_LISTENERS + 1)]
    assert [sidebands.join(ear) for ear in ears] == [True] * MAX_LISTENERS + [False]
    assert not ears[0].heard
    sidebands.leave(ears[0])
    assert sidebands.join(ears[-1])


async def test_both_ways(door: FrontDoor) -> None:
    """Events come out as they were sent, and what is said goes to the backend as it came."""
    call = _call(door)
    call.sidebands.tell(CREATED)
    socket = await door.connect(JOIN)
    assert await socket.receive_str() == CREATED
    call.sidebands.tell('{"type":"response.done"}')
    assert await socket.receive_str() == '{"type":"response.done"}'
    await socket.send_str('{"type":"response.create"}')
    assert await call.from_sidebands.get() == '{"type":"response.create"}'
    await socket.close()


async def test_it_ends_with_the_call(door: FrontDoor) -> None:
    """Hanging up closes the side band normally, after everything was said."""
    socket = await door.connect(JOIN)
    _call(door).sidebands.tell("last")
    await door.ask("POST", "/v1/realtime/calls/rtc_1/hangup")
    assert await socket.receive_str() == "last"
    assert await _closed(socket) == 1000


async def test_it_ends_with_the_process() -> None:
    """A process that leaves says so, and does not wait for side bands."""
    async with ClientSession(headers=AUTHORIZED) as client:
        async with front_door() as door:
            await door.post_sdp("/v1/realtime/calls", real_offer())
            socket = await client.ws_connect(f"http://127.0.0.1:{door.port}{JOIN}")
            ending = asyncio.ensure_future(_closed(socket))
        assert await ending == 1001


async def test_a_side_band_that_leaves_is_forgotten(door: FrontDoor) -> None:
    """Its place is free again when its close has been answered."""
    for _ in range(3 * MAX_LISTENERS):
        await (await door.connect(JOIN)).close()
    sockets = [await door.connect(JOIN) for _ in range(MAX_LISTENERS)]
    with pytest.raises(WSServerHandshakeError) as refused:
        await door.connect(JOIN)
    assert refused.value.status == 503
    for socket in sockets:
        await socket.close()


async def test_side_bands_of_a_process_are_bounded(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers need connections too."""
    monkeypatch.setattr(sideband, "MAX_SIDEBANDS", 1)
    socket = await door.connect(JOIN)
    with pytest.raises(WSServerHandshakeError) as refused:
        await door.connect(JOIN)
    assert refused.value.status == 503
    await socket.close()


async def test_a_slow_reader_is_let_go() -> None:
    """Too much that was not read ends the side band, in events and in characters."""
    for texts in (["x"] * (sideband.MAX_WAITING + 1), ["x" * (sideband.MAX_WAITING_CHARS + 1)]):
        mailbox = _Mailbox()
        for text in texts:
            mailbox.hear(text)
        mailbox.call_ended()
        assert await mailbox.next() is None
        assert mailbox.close_code == 1013


async def test_binary_and_huge_messages_end_it(door: FrontDoor) -> None:
    """What no event can be closes the side band, not the call."""
    socket = await door.connect(JOIN)
    await socket.send_bytes(b"\0")
    assert await _closed(socket) == 1003
    socket = await door.connect(JOIN)
    await socket.send_str("x" * (sideband.MAX_MESSAGE_BYTES + 1))
    assert await _closed(socket) == 1009
    assert _call(door).from_sidebands.empty()


async def test_secrets_and_subprotocols_open_it(door: FrontDoor) -> None:
    """A client secret joins the call that it placed, and so does a key in the place where browsers
    can put one."""
    secret = seal(RING, ClientSecret(2**40, "", key_id(KEY)))
    page = {"Authorization": f"Bearer {secret}"}
    await door.post_sdp("/v1/realtime/calls", real_offer(), **page)
    protocol = {"Sec-WebSocket-Protocol": f"realtime, openai-insecure-api-key.{KEY}"}
    for headers in (page, protocol):
        socket = await door.connect("/v1/realtime?call_id=rtc_2", headers=headers)
        await socket.close()


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        (JOIN, {}, 426, "upgrade_required"),
        (JOIN, {"Authorization": None}, 401, "missing_key"),
        (JOIN, {"Authorization": "Bearer nope"}, 401, "wrong_key"),
        ("/v1/realtime?call_id=rtc_2", {}, 404, "no_such_call"),
        ("/v1/realtime?model=gpt-realtime", {}, 400, "no_call_id"),
    ],
)
async def test_who_may_not_join_is_told_by_http(
    door: FrontDoor, path: str, headers: dict[str, str | None], status: int, code: str
) -> None:
    """Refusals are problems like all others, before anything is a WebSocket."""
    response = await door.ask("GET", path, headers=headers)
    assert response.status == status
    assert (await problem(response))["code"] == code


async def test_a_side_band_speaks_at_its_pace(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes faster than a key may speak waits, unread; pings and long messages count."""
    waits: list[float] = []
    monkeypatch.setattr(sideband, "MESSAGE_BURST", 2.5)
    monkeypatch.setattr(sideband, "MESSAGES_PER_S", 0.001)
    slept = asyncio.Event()

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)
        slept.set()
        await asyncio.Event().wait()

    socket = await door.connect(JOIN)
    monkeypatch.setattr(sideband, "_sleep", sleep)
    await socket.ping()
    await socket.send_str("short")
    await socket.send_str("x" * 3 * sideband.CHARS_PER_MESSAGE)
    await slept.wait()
    assert waits == [sideband.LONGEST_WAIT_S]
    assert await _call(door).from_sidebands.get() == "short"
    assert _call(door).from_sidebands.empty()
    await socket.close()


async def test_a_side_band_that_fails_ends_alone(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1011 for it; the call and the side bands beside it go on."""
    beside, failing = await door.connect(JOIN), await door.connect(JOIN)

    def fail(text: str, *, from_server: bool) -> None:
        raise RuntimeError(text, from_server)

    monkeypatch.setattr(_call(door), "hear_sideband", fail)
    await failing.send_str("{}")
    assert await _closed(failing) == 1011
    _call(door).sidebands.tell("more")
    assert await beside.receive_str() == "more"
    await beside.close()


async def test_a_tenant_leaves_side_bands_to_others(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have as many as it leaves free."""
    monkeypatch.setattr(sideband, "MAX_SIDEBANDS", 4)
    other = {"Authorization": "Bearer key-two"}
    await door.post_sdp("/v1/realtime/calls", real_offer(), **other)
    mine = [await door.connect(JOIN) for _ in range(2)]
    with pytest.raises(WSServerHandshakeError):
        await door.connect(JOIN)
    theirs = await door.connect("/v1/realtime?call_id=rtc_2", headers=other)
    for socket in (*mine, theirs):
        await socket.close()


async def test_who_speaks_is_told(door: FrontDoor) -> None:
    """A server's words are its own; a page's side band speaks as the page."""
    secret = seal(RING, ClientSecret(2**40, "", key_id(KEY)))
    page = {"Authorization": f"Bearer {secret}"}
    await door.post_sdp("/v1/realtime/calls", real_offer(), **page)
    call = door.engine.find("rtc_2")
    assert call is not None
    for headers, of_servers in ((page, 0), (AUTHORIZED, 1)):
        socket = await door.connect("/v1/realtime?call_id=rtc_2", headers=headers)
        await socket.send_str("{}")
        await call.from_sidebands.get()
        assert call.sidebands_of_servers == of_servers
        await socket.close()
