"""A request about a call finds the call's pod, whichever pod it came to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
from aiohttp import (
    ClientSession,
    ClientWebSocketResponse,
    WSMsgType,
    WSServerHandshakeError,
    web,
)
from multidict import CIMultiDictProxy

from fleet.api_key import key_id
from fleet.directory.directory import Node
from fleet.errors import StoreUnavailable
from fleet.seal import Seal
from tests.transceiver.front_door import (
    AUTHORIZED,
    RING,
    FakeEngine,
    FrontDoor,
    front_door,
    problem,
)
from tests.transceiver.offers import real_offer
from transceiver.call.call_id import new_call_id
from transceiver.call.principal import Principal
from transceiver.pod import passed_socket
from transceiver.pod.neighbours import Neighbours
from transceiver.pod.owners import FRESH_S, Owners
from transceiver.pod.pod_place import ALONE, PodPlace
from transceiver.pod.proof import ANSWERED, PROOF, PURPOSE, Passed, Proofs
from trunkline.process.address import Address

TRUNK = Address("127.0.0.1", 9202)
HERE, THERE = Address("10.0.0.1", 8080), Address("10.0.0.2", 8080)


def node(index: int, http: Address | None) -> Node:
    return Node(index, 1, TRUNK, f"n{index}", http=http)


class Pods:
    """Two pods of a fleet, each an application on a port of its own, and their directory."""

    def __init__(self) -> None:
        self.directory: list[Node] = []
        self.doors: list[FrontDoor] = []
        self.proofs = Proofs(Seal(lambda: RING, PURPOSE, 0))

    async def nodes(self) -> Iterable[Node]:
        return self.directory

    def neighbours(self, engine: FakeEngine) -> Neighbours:
        """What a pod knows of others; each believes to be somewhere that nobody else is."""
        holds: Callable[[str], bool] = lambda call_id: engine.find(call_id) is not None  # noqa: E731
        owners = Owners(ALONE, Address("10.9.9.9", 1), self.nodes)
        return Neighbours(ALONE, holds, self.proofs, owners)

    async def place(self, index: int) -> str:
        """A call of one pod; its id."""
        door = self.doors[index]
        door.engine.new_id = lambda _: new_call_id(0, index)
        answer = await door.post_sdp("/v1/realtime/calls", real_offer())
        return answer.headers["Location"].rpartition("/")[2]


@pytest.fixture
async def pods() -> AsyncIterator[Pods]:
    two = Pods()
    async with _pod(two), _pod(two):
        yield two


@asynccontextmanager
async def _pod(pods: Pods) -> AsyncIterator[None]:
    made: list[Neighbours] = []

    def neighbours(engine: FakeEngine) -> Neighbours:
        made.append(pods.neighbours(engine))
        return made[0]

    async with front_door(neighbours=neighbours) as door:
        pods.directory.append(node(len(pods.doors), Address("127.0.0.1", door.port)))
        pods.doors.append(door)
        yield
    await made[0].close()


async def joined(door: FrontDoor, call_id: str) -> ClientWebSocketResponse:
    return await door.connect(f"/v1/realtime?call_id={call_id}", protocols=("realtime",))


async def test_a_call_is_ended_by_way_of_another_pod(pods: Pods) -> None:
    """The answer is the owner's, key and all; a call that is over is over everywhere."""
    call_id = await pods.place(0)
    path = f"/v1/realtime/calls/{call_id}/hangup"
    refused = await pods.doors[1].ask("POST", path, headers={"Authorization": "Bearer no"})
    assert (await problem(refused))["code"] == "wrong_key"
    assert (await pods.doors[1].ask("POST", path)).status == 200
    assert pods.doors[0].engine.ended == [(call_id, "hangup")]
    for door in pods.doors:
        assert (await problem(await door.ask("POST", path)))["code"] == "no_such_call"


async def test_a_side_band_by_way_of_another_pod(pods: Pods) -> None:
    """Both ways, with the subprotocol; the close code is the one that the owner said."""
    call_id = await pods.place(0)
    call = pods.doors[0].engine.find(call_id)
    assert call is not None
    socket = await joined(pods.doors[1], call_id)
    assert socket.protocol == "realtime"
    await socket.send_str('{"type":"response.create"}')
    assert await call.from_sidebands.get() == '{"type":"response.create"}'
    call.sidebands.tell("last")
    pods.doors[0].engine.end(call_id, "hangup")
    assert await socket.receive_str() == "last"
    assert (await socket.receive()).type is WSMsgType.CLOSE
    assert socket.close_code == 1000


async def test_a_listener_that_leaves_is_gone_at_the_owner(pods: Pods) -> None:
    """Its place is free again, so any number may come one after another; too many at once may not,
    and are told so."""
    call_id = await pods.place(0)
    for _ in range(12):
        await (await joined(pods.doors[1], call_id)).close()
    sockets = [await joined(pods.doors[1], call_id) for _ in range(4)]
    with pytest.raises(WSServerHandshakeError) as refused:
        await joined(pods.doors[1], call_id)
    assert refused.value.status == 503
    for socket in sockets:
        await socket.close()


async def test_passed_side_bands_are_bounded(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes two connections, which calls need too."""
    monkeypatch.setattr(passed_socket, "MAX_PASSED", 1)
    call_id = await pods.place(0)
    first = await joined(pods.doors[1], call_id)
    with pytest.raises(WSServerHandshakeError) as refused:
        await joined(pods.doors[1], call_id)
    assert refused.value.status == 503
    await first.close()
    await (await joined(pods.doors[1], call_id)).close()


@pytest.mark.parametrize("leaver", ["owner", "passer"])
async def test_a_pod_leaves(leaver: str) -> None:
    """Whichever of the two: who listens reads that a server goes away, and not that the call is
    over. A call whose pod is gone is no call."""
    pods = Pods()
    async with (
        AsyncExitStack() as owner,
        AsyncExitStack() as passer,
        ClientSession(headers=AUTHORIZED) as client,
    ):
        await owner.enter_async_context(_pod(pods))
        await passer.enter_async_context(_pod(pods))
        call_id = await pods.place(0)
        url = f"http://127.0.0.1:{pods.doors[1].port}/v1/realtime?call_id={call_id}"
        socket = await client.ws_connect(url)
        ending = asyncio.ensure_future(socket.receive())
        await {"owner": owner, "passer": passer}[leaver].aclose()
        assert (await ending).type is WSMsgType.CLOSE
        assert socket.close_code == 1001
        if leaver == "owner":
            gone = await pods.doors[1].ask("DELETE", f"/whip/{call_id}")
            assert (await problem(gone))["code"] == "no_such_call"


async def test_no_request_goes_round(pods: Pods) -> None:
    """Two pods whose directory is wrong ask each other once, not for ever."""
    call_id = await pods.place(0)
    first, second = pods.directory
    pods.directory[:] = [node(0, second.http), node(1, first.http)]
    refused = await pods.doors[1].ask("DELETE", f"/whip/{call_id}")
    assert (await problem(refused))["code"] == "no_such_call"
    assert pods.doors[0].engine.find(call_id) is not None


class Impostor:
    """Who listens where the directory says that a pod is, and is not of the fleet."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, CIMultiDictProxy[str], bytes]] = []
        self.messages: list[str] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Address]:
        app = web.Application()
        app.router.add_route("*", "/{anything:.*}", self._hear)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield Address("127.0.0.1", runner.addresses[0][1])
        finally:
            await runner.cleanup()

    async def _hear(self, request: web.Request) -> web.StreamResponse:
        self.heard.append((request.path_qs, request.headers, await request.read()))
        if "Upgrade" not in request.headers:
            return web.Response(status=200, headers={ANSWERED: "1.AAAA"})
        socket = web.WebSocketResponse(protocols=("realtime",))
        await socket.prepare(request)
        await socket.send_str("1.AAAA")
        async for message in socket:
            self.messages.append(str(message.data))
        return socket


async def test_a_place_that_is_not_of_the_fleet_gets_no_key_and_no_word(pods: Pods) -> None:
    """It is asked without the caller's key, and neither its answer nor its side band is believed.
    Nothing of the caller's request goes on but what the owner needs."""
    call_id = await pods.place(0)
    impostor = Impostor()
    async with impostor.listening() as address:
        pods.directory[0] = node(0, address)
        path = f"/v1/realtime/calls/{call_id}/hangup?key=secret"
        headers = {"X-Secret": "mine", "Cookie": "a=secret", "Origin": "https://page.example"}
        refused = await pods.doors[1].ask("POST", path, data=b"", headers=headers)
        assert (await problem(refused))["code"] == "owner_silent"
        protocols = ("realtime", "openai-insecure-api-key.key-one")
        with pytest.raises(WSServerHandshakeError) as unheard:
            await pods.doors[1].connect(f"/v1/realtime?call_id={call_id}", protocols=protocols)
        assert unheard.value.status == 503
    assert len(impostor.heard) == 2
    for path, given, body in impostor.heard:
        text = f"{path} {dict(given)} {body!r}".lower()
        assert not any(word in text for word in ("key-one", "secret", "page.example", "bearer"))
    assert not impostor.messages


async def test_a_passed_on_request_is_carried_out_once(pods: Pods) -> None:
    """Who heard it on the way can send it again, to any process, and nothing happens."""
    call_id = await pods.place(0)
    path = f"/v1/realtime/calls/{call_id}/hangup"
    as_sent = "application/octet-stream"  # by this client, unasked
    asked = Passed("POST", path, Principal("k_other", "k_other"), as_sent)
    bare = {"Authorization": None}
    mine = replace(asked, principal=Principal(key_id("key-one"), key_id("key-one")), id="a" * 22)
    for door in pods.doors:
        forged = {PROOF: pods.proofs.write(replace(asked, path="/whip/x")), **bare}
        assert (await door.ask("POST", path, headers=forged)).status == 401
    other = await pods.doors[0].ask("POST", path, headers={PROOF: pods.proofs.write(asked), **bare})
    assert other.status == 404
    proof = {PROOF: pods.proofs.write(mine), **bare}
    answer = await pods.doors[0].ask("POST", path, headers=proof)
    assert answer.status == 200
    pods.proofs.check_answer(mine.id, 200, b"", answer.headers[ANSWERED])
    again = await pods.doors[0].ask("POST", path, headers=proof)
    assert again.status == 401
    assert ANSWERED not in again.headers
    assert pods.doors[0].engine.ended == [(call_id, "hangup")]


async def test_a_strangers_call_is_no_call_by_way_of_another_pod(pods: Pods) -> None:
    """The answer is word for word that of an id of the same pod that never was."""
    call_id = await pods.place(0)
    never = new_call_id(0, 0)
    stranger = {"Authorization": "Bearer key-two"}
    for path in ("/whip/{}", "/v1/realtime/calls/{}/hangup", "/v1/realtime?call_id={}"):
        method = "DELETE" if "whip" in path else "GET" if "?" in path else "POST"
        answers = [
            await pods.doors[1].ask(method, path.format(one), headers=stranger)
            for one in (call_id, never)
        ]
        assert [answer.status for answer in answers] == [404, 404]
        assert await problem(answers[0]) == await problem(answers[1])
    assert pods.doors[0].engine.find(call_id) is not None


async def test_owners_by_node_and_letter() -> None:
    """Another pod by its address, this pod's processes by their number, nobody for what is no id,
    for this process, and for nodes that do not say where they are."""
    known = [node(1, HERE), node(2, THERE), node(3, None)]

    async def nodes() -> Iterable[Node]:
        return known

    owners = Owners(PodPlace(index=0, count=3), HERE, nodes)
    assert await owners.find(new_call_id(2, 1)) == 2
    assert await owners.find(new_call_id(0, 1)) is None
    assert await owners.find(new_call_id(0, 2)) == THERE
    assert await owners.find(new_call_id(1, 2), within_pod=True) == 1
    assert await owners.find(new_call_id(1, 3)) == 1
    assert await owners.find(new_call_id(5, 9)) is None
    assert await owners.find("rtc_nonsense!") is None


async def test_the_directory_is_read_once_a_second_and_outlives_the_store() -> None:
    """However many ask; while the store is away the last one serves."""
    clock, reads, away = [0.0], [0], [False]

    async def nodes() -> Iterable[Node]:
        reads[0] += 1
        if away[0]:
            raise StoreUnavailable("away")
        return [node(2, THERE)]

    owners = Owners(ALONE, HERE, nodes, now=lambda: clock[0])
    find = partial(owners.find, new_call_id(0, 2))
    assert [await find() for _ in range(5)] == [THERE] * 5
    assert reads == [1]
    away[0], clock[0] = True, FRESH_S
    assert [await find() for _ in range(5)] == [THERE] * 5
    assert reads == [2]
