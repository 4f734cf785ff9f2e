"""Requests from process to process of a fleet, addressed by node: by its sender number.

    any process ── proof ──▶ any process of the node's Pod ── Unix socket ──▶ the node's process

The directory knows the HTTP port of a Pod, which its processes share. It does not say which of them
is which node. So a process that gets what is for another asks those of its Pod, and remembers. A
process goes on to answer for the node that it was before it lost a lease, because it has heard what
was said to that one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from fleet.directory.directory import Node
from transceiver.call.principal import NOBODY
from transceiver.pod.neighbours import Neighbours, from_neighbour
from transceiver.pod.owners import Owner
from transceiver.pod.peer import Answer
from transceiver.pod.proof import NotProven, Passed
from transceiver.signaling.problem import Problem

MAX_KNOWN = 1024  # nodes whose process is remembered

Body = Callable[[web.Request, bytes], Awaitable[web.Response]]


class Unreachable(Exception):  # noqa: N818 - a state of the other
    """Nobody answered; `dead`: nobody is there who could."""

    def __init__(self, *, dead: bool) -> None:
        super().__init__("dead" if dead else "silent")
        self.dead = dead


@dataclass(frozen=True)
class Place:
    """Where a process is asked: its sender number, and its Pod, as `Owners` has it; None: ours."""

    sender: int
    owner: Owner | None

    @classmethod
    def of(cls, node: Node, own_http: object) -> Place:
        """Of a node of the directory."""
        elsewhere = node.http is not None and node.http != own_http
        return cls(node.index << 16 | node.epoch, node.http if elsewhere else None)


class Posts:
    """Asks other processes, and serves what they ask. `own` gives the sender number of now."""

    def __init__(self, neighbours: Neighbours, own: Callable[[], int]) -> None:
        self._neighbours = neighbours
        self._own = own
        self._was: set[int] = set()
        self._process_of: dict[int, int] = {}

    async def ask(self, place: Place, path: str, body: bytes = b"") -> Answer:
        """POST to a node. Raises Unreachable."""
        path = f"/fleet/nodes/{place.sender}/{path}"
        passed = Passed(hdrs.METH_POST, path, NOBODY, body=body)
        if place.owner is None:
            return await self._ask_own_pod(place.sender, passed)
        try:
            peer = await self._neighbours.peer(place.owner)
            return _sure(await peer.ask(passed))
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(dead=isinstance(error.os_error, ConnectionRefusedError)) from None
        except (aiohttp.ClientError, TimeoutError, NotProven):
            raise Unreachable(dead=False) from None

    def handler(self, work: Body, max_bytes: int) -> Handler:
        """A handler of what other processes ask of a node; `work` gets the body."""

        async def handle(request: web.Request) -> web.StreamResponse:
            passed = await self._neighbours.admit(request, max_bytes)
            node = int(request.match_info["node"])
            if not self.is_own(node):
                return await self._pass_on(node, passed, request)
            self._neighbours.carry_out(request)
            return await work(request, passed.body)

        return handle

    def is_own(self, node: int) -> bool:
        """Whether a node is this process, or was."""
        self._was.add(self._own())
        return node in self._was

    async def _pass_on(self, node: int, passed: Passed, request: web.Request) -> web.Response:
        if from_neighbour(request):
            raise Problem("misdirected", "This process is another node.")
        try:
            return (await self._ask_own_pod(node, passed)).response()
        except Unreachable as error:
            if error.dead:
                raise Problem("no_such_node", "No process here is that node.") from None
            raise Problem("node_silent", "Try again in a moment.") from None

    async def _ask_own_pod(self, node: int, passed: Passed) -> Answer:
        """Ask the processes of this Pod, first the one that was the node before."""
        known, others, silent = self._process_of.get(node), self._neighbours.others, False
        for process in sorted(others, key=lambda index: index != known):
            try:
                answer = await (await self._neighbours.peer(process)).ask(passed)
            except aiohttp.ClientConnectionError:  # its socket is closed: it has ended
                continue
            except (aiohttp.ClientError, TimeoutError, NotProven):
                silent = True
                continue
            if answer.status != HTTPStatus.MISDIRECTED_REQUEST:
                self._remember(node, process)
                return answer
        raise Unreachable(dead=not silent)

    def _remember(self, node: int, process: int) -> None:
        if len(self._process_of) >= MAX_KNOWN:
            self._process_of.clear()
        self._process_of[node] = process


def _sure(answer: Answer) -> Answer:
    """The answer, unless it is that of a Pod about a process of it. Raises Unreachable."""
    if answer.status in (HTTPStatus.GONE, HTTPStatus.GATEWAY_TIMEOUT):
        raise Unreachable(dead=answer.status == HTTPStatus.GONE)
    return answer
