"""Whether a process answers for itself over real HTTP: a neighbour, a stopped one, a stranger."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from fleet.calls.owner import Owner
from fleet.seal import Seal
from tests.rings import token_ring
from transceiver.pod.neighbours import Neighbours
from transceiver.pod.pod_place import PodPlace
from transceiver.pod.proof import PURPOSE, Proofs
from transceiver.pod.signs_of_life import SignsOfLife, path_of
from transceiver.recovery.witness import Witness
from transceiver.signaling.refusals import answer_problems
from trunkline.process.address import Address
from wire.keys import KeyRing

FIRST, SECOND, NOBODY = Owner(17, 3), Owner(18, 4), Owner(17, 2)
LONG_S = 20.0  # for what must answer, however busy this machine is


def proofs(ring: Callable[[], KeyRing] = token_ring) -> Proofs:
    return Proofs(Seal(ring, PURPOSE, 5))


async def no_caller(_request: web.Request) -> web.Response:
    raise AssertionError("nobody asks for anything else")


class Pod:
    """Two processes, each with a Unix socket; the first accepts what comes by TCP."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hung = False
        self.asked = 0
        self.stack = AsyncExitStack()
        self.http = Address("127.0.0.1", 0)

    async def start(self) -> None:
        for index, owner in enumerate((FIRST, SECOND)):
            place = PodPlace(index, 2, directory=self.directory)
            neighbours = Neighbours(place, lambda _: True, proofs())
            self.stack.push_async_callback(neighbours.close)
            app = web.Application(
                middlewares=[self.hanging(index), neighbours.proving, answer_problems]
            )
            app.add_routes(SignsOfLife(neighbours, lambda own=owner: own).routes())  # type: ignore[misc]
            runner = web.AppRunner(app)
            await runner.setup()
            self.stack.push_async_callback(runner.cleanup)
            await web.UnixSite(runner, str(place.socket_of(index))).start()
            if index == 0:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                self.http = Address("127.0.0.1", runner.addresses[-1][1])

    def hanging(self, index: int) -> Any:
        @web.middleware
        async def middleware(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self.asked += 1
            if self.hung and index == 1:
                await asyncio.Event().wait()  # as one that is stopped: it accepts, and no more
            return await handler(request)

        return middleware


@pytest.fixture
async def pod(tmp_path: Path) -> AsyncIterator[Pod]:
    made = Pod(tmp_path)
    await made.start()
    yield made
    await made.stack.aclose()


async def test_each_process_of_a_pod_answers_whoever_accepts(pod: Pod) -> None:
    """The one that accepts for itself, the other by its Unix socket; an epoch before is nobody."""
    witness = Witness(proofs(), LONG_S)
    assert await witness.lives(FIRST, pod.http)
    assert pod.asked == 1
    assert not await witness.lives(NOBODY, pod.http)


async def test_a_neighbour_answers_for_itself(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is stopped does not, whatever its sockets accept."""
    monkeypatch.setattr("transceiver.pod.signs_of_life.POD_TIMEOUT_S", LONG_S)
    witness = Witness(proofs(), LONG_S)
    assert await witness.lives(SECOND, pod.http)
    monkeypatch.setattr("transceiver.pod.signs_of_life.POD_TIMEOUT_S", 0.01)
    pod.hung = True
    assert not await witness.lives(SECOND, pod.http)
    assert await witness.lives(FIRST, pod.http)


async def test_nobody_listens(pod: Pod) -> None:
    """A refused connection is an answer, and needs no patience."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = Address("127.0.0.1", closed.getsockname()[1])
    assert not await Witness(proofs(), LONG_S).lives(FIRST, gone)


async def test_silence_is_an_answer(pod: Pod) -> None:
    """Whoever accepts and says nothing is asked no longer than the witness waits."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        there = Address("127.0.0.1", silent.getsockname()[1])
        assert not await Witness(proofs(), 0.01).lives(FIRST, there)


async def test_a_stranger_speaks_for_nobody_and_asks_nothing(pod: Pod) -> None:
    """Neither with another key nor without a proof; a plain 200 is no sign of life."""
    strange = proofs(lambda: KeyRing(1, {1: b"x" * 32}))
    assert not await Witness(strange, LONG_S).lives(FIRST, pod.http)
    async with (
        ClientSession() as session,
        session.get(f"http://{pod.http}{path_of(FIRST)}") as answer,
    ):
        assert answer.status == 401

    async def yes(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/{anything:.*}", yes)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    somebody = Address("127.0.0.1", runner.addresses[0][1])
    assert not await Witness(proofs(), LONG_S).lives(FIRST, somebody)
    await runner.cleanup()
