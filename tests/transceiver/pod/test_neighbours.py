"""A request about a call finds the call's pod, whichever pod it came to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from fleet.address import Address
from fleet.directory.directory import Node
from fleet.errors import StoreUnavailable
from tests.transceiver.front_door import (
    AUTHORIZED,
    FakeEngine,
    FrontDoor,
    front_door,
    problem,
)
from tests.transceiver.offers import real_offer
from transceiver.call.call_id import new_call_id
from transceiver.pod import passed_socket
from transceiver.pod.neighbours import Neighbours
from transceiver.pod.owners import FRESH_S, Owners
from transceiver.pod.peer import PASSED_ON
from transceiver.pod.pod_place import ALONE, Place

TRUNK = Address("127.0.0.1", 9202)
HERE, THERE = Address("10.0.0.1", 8080), Address("10.0.0.2", 8080)


def node(index: int, http: Address | None) -> Node:
    return Node(index, 1, TRUNK, f"n{index}", http=http)


class Pods:
    """Two pods of a fleet, each an application on a port of its own, and their directory."""

    def __init__(self) -> None:
        self.directory: list[Node] = []
        self.doors: list[FrontDoor] = []

    async def nodes(self) -> Iterable[Node]:
        return self.directory

    def neighbours(self, engine: FakeEngine) -> Neighbours:
        """What a pod knows of others; each believes to be somewhere that nobody else is."""
        holds: Callable[[str], bool] = lambda call_id: engine.find(call_id) is not None  # noqa: E731
        return Neighbours(ALONE, holds, Owners(ALONE, Address("10.9.9.9", 1), self.nodes))

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
    marked = {PASSED_ON: "1", **AUTHORIZED}
    assert (await pods.doors[0].ask("DELETE", f"/whip/{call_id}", headers=marked)).status == 200


async def test_owners_by_node_and_letter() -> None:
    """Another pod by its address, this pod's processes by their number, nobody for what is no id,
    for this process, and for nodes that do not say where they are."""
    known = [node(1, HERE), node(2, THERE), node(3, None)]

    async def nodes() -> Iterable[Node]:
        return known

    owners = Owners(Place(index=0, count=3), HERE, nodes)
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
