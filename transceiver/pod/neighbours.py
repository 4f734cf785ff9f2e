"""The processes of a fleet as callers see them: each answers for all.

    caller ─▶ any process ── about a call of its pod ──▶ its Unix socket ─▶ that process
                          ── about another pod's ──────▶ that pod's HTTP port ─▶ (as above)
                          ── /metrics, /healthz ───────▶ all of its pod, answers joined

Whatever comes by a Unix socket is answered by the process itself, and what another pod passed on
goes no further than this one, so no request goes round. The owner of a call checks the key; nothing
is trusted because of where it came from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST

from fleet.address import Address
from transceiver.pod.joined_metrics import joined
from transceiver.pod.owners import Owner, Owners
from transceiver.pod.passed_socket import PassedSockets
from transceiver.pod.peer import PASSED_ON, Answer, Peer, neighbour, pod
from transceiver.pod.pod_place import Place
from transceiver.signaling.body import read_body
from transceiver.signaling.intake import no_such_call
from transceiver.signaling.offer_policy import MAX_OFFER_BYTES
from transceiver.signaling.problem import Problem
from transceiver.signaling.sideband import SIDEBAND_PATH, sideband_socket

BODY_TIMEOUT_S = 10.0
POD_TIMEOUT_S = 1.0  # for what is asked of all: who is well answers in a few ms
MAX_PODS = 256  # connected at the same time; beyond it they are closed and made again


class Neighbours:
    """What one process knows of the others. `holds` says which calls are here.

    `middleware` goes innermost; `leave` ends the side bands that are passed on, `close` the
    connections to the others.
    """

    def __init__(
        self, place: Place, holds: Callable[[str], bool], owners: Owners | None = None
    ) -> None:
        self._place = place
        self._holds = holds
        self._owners = owners or Owners(place)
        self._peers: dict[Owner, Peer] = {}
        self._sockets = PassedSockets()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer for whoever the request is meant for."""
        if _from_neighbour(request):
            return await handler(request)
        if self._place.count > 1 and request.path == "/metrics":
            return await self._metrics(request, handler)
        if self._place.count > 1 and request.path == "/healthz":
            return await self._health(request, handler)
        owner = await self._owner(request)
        return await (handler(request) if owner is None else self._pass_on(owner, request))

    async def leave(self, _app: web.Application) -> None:
        """End the side bands that are passed on."""
        await self._sockets.close_all()

    async def close(self) -> None:
        """Close every connection."""
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            await peer.close()

    async def _owner(self, request: web.Request) -> Owner | None:
        """Who else is to answer; None: this process."""
        call_id = _call_id(request)
        if not call_id or self._holds(call_id):
            return None
        return await self._owners.find(call_id, within_pod=PASSED_ON in request.headers)

    async def _pass_on(self, owner: Owner, request: web.Request) -> web.StreamResponse:
        peer = await self._peer(owner)
        try:
            if request.path == SIDEBAND_PATH and sideband_socket().can_prepare(request):
                return await self._join(peer, request)
            body = await read_body(request, MAX_OFFER_BYTES, BODY_TIMEOUT_S)
            answer = await peer.ask(request.method, request.path_qs, request.headers, body)
        except aiohttp.ClientConnectionError:  # its calls ended with it
            raise no_such_call() from None
        except TimeoutError:
            raise Problem("owner_silent", "Try again in a moment.") from None
        return answer.response()

    async def _join(self, peer: Peer, request: web.Request) -> web.StreamResponse:
        try:
            far = await peer.connect(request.path_qs, request.headers)
        except aiohttp.WSServerHandshakeError:
            return (await self._refusal(peer, request)).response()
        return await self._sockets.pass_on(request, sideband_socket(), far)

    async def _refusal(self, peer: Peer, request: web.Request) -> Answer:
        """Why a side band was refused: a handshake's error has no body, a plain request's has."""
        answer = await peer.ask(request.method, request.path_qs, request.headers)
        if answer.status == web.HTTPUpgradeRequired.status_code:  # nothing else is wrong with it
            raise Problem("too_many_sidebands", "Close one of them first.")
        return answer

    async def _metrics(self, request: web.Request, handler: Handler) -> web.Response:
        own = await handler(request)
        answers = await self._ask_all("/metrics")
        texts = {index: answer.body.decode() for index, answer in answers.items()}
        if isinstance(own, web.Response) and isinstance(own.body, bytes):
            texts[self._place.index] = own.body.decode()
        missing = set(range(self._place.count)) - set(texts)
        return web.Response(
            body=joined(texts, missing), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _health(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ready when all are that answer; who does not is being restarted, and takes no calls."""
        own = await handler(request)
        if own.status != web.HTTPOk.status_code:
            return own
        for answer in (await self._ask_all("/healthz")).values():
            if answer.status != web.HTTPOk.status_code:
                return answer.response()
        return own

    async def _ask_all(self, path: str) -> Mapping[int, Answer]:
        """What those of this pod say that answer, and in time: whoever asks may not wait long."""
        others = [n for n in range(self._place.count) if n != self._place.index]
        peers = [await self._peer(index) for index in others]
        found = await asyncio.gather(
            *(asyncio.wait_for(peer.ask(hdrs.METH_GET, path), POD_TIMEOUT_S) for peer in peers),
            return_exceptions=True,
        )
        answers: dict[int, Answer] = {}
        for index, answer in zip(others, found, strict=True):
            if isinstance(answer, Answer):
                answers[index] = answer
            elif not isinstance(answer, aiohttp.ClientError | TimeoutError):
                raise answer
        return answers

    async def _peer(self, owner: Owner) -> Peer:
        peer = self._peers.get(owner)
        if peer is None:
            if len(self._peers) >= MAX_PODS + self._place.count:
                await self.close()
            peer = self._peers[owner] = self._made(owner)
        return peer

    def _made(self, owner: Owner) -> Peer:
        return (
            pod(owner)
            if isinstance(owner, Address)
            else neighbour(str(self._place.socket_of(owner)))
        )


def _call_id(request: web.Request) -> str:
    """The call that a request is about; "" for none."""
    if request.path == SIDEBAND_PATH:
        return request.query.get("call_id", "")
    return request.match_info.get("call_id", "")


def _from_neighbour(request: web.Request) -> bool:
    """Whether the request came by the process's Unix socket, whose name is a path."""
    transport = request.transport
    return transport is not None and isinstance(transport.get_extra_info("sockname"), str)
