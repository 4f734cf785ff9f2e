"""The processes of a fleet as callers see them: each answers for all.

    caller ─▶ any process ── about a call of its pod ──▶ its Unix socket ─▶ that process
                          ── about another pod's ──────▶ that pod's HTTP port ─▶ (as above)
                          ── /metrics, /healthz ───────▶ all of its pod, answers joined

Whoever is asked first checks the caller's key, which goes no further: what is passed on carries a
proof of the fleet's instead (`transceiver.pod.proof`). Whatever comes by a Unix socket is answered
by the process itself, and what another pod passed on goes no further than this one, so no request
goes round.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import ClientWebSocketResponse, WSCloseCode, hdrs, web
from aiohttp.typedefs import Handler

from fleet.backoff import Pace
from fleet.metrics import CONTENT_TYPE
from fleet.seal import Keys, Seal
from transceiver.call.principal import NOBODY, Principal
from transceiver.counters import Counted
from transceiver.pod.joined_metrics import joined
from transceiver.pod.owners import Owner, Owners
from transceiver.pod.passed_socket import PassedSockets
from transceiver.pod.peer import Answer, Peer, neighbour, pod
from transceiver.pod.pod_place import ALONE, PodPlace
from transceiver.pod.proof import ANSWERED, PROOF, PURPOSE, NotProven, Passed, Proofs
from transceiver.pod.whereabouts import Whereabouts
from transceiver.signaling.access import PRINCIPAL, unproven
from transceiver.signaling.body import BODY, read_body
from transceiver.signaling.intake import no_such_call
from transceiver.signaling.media_type import MAX_CHARS
from transceiver.signaling.offer_policy import MAX_OFFER_BYTES
from transceiver.signaling.problem import Problem
from transceiver.signaling.sideband import AGAIN, GREETING, SIDEBAND_PATH, sideband_socket
from trunkline.process.address import Address

BODY_TIMEOUT_S = 10.0
POD_TIMEOUT_S = 1.0  # for what is asked of all: who is well answers in a few ms
FOLLOW_TRIES = 6  # to find a moved call at its new owner, which takes it a few ms to go live
FOLLOW_PACE = Pace(first_s=0.02, longest_s=0.5)
MAX_PODS = 256  # connected at the same time; beyond it they are closed and made again

PASSED = web.RequestKey("passed", Passed)  # how another process passed the request on
Check = Callable[[web.Request], None]
"""Says who asks, as PRINCIPAL of the request. Raises Problem for who may not."""


class Neighbours:
    """What one process knows of the others. `holds` says which calls are here.

    `handle` is what every request goes through that needs a key; `joining` is a middleware for
    pages that are of the whole pod, `proving` one that seals answers. `leave` ends the side bands
    that are passed on, `close` the connections to the others.
    """

    def __init__(
        self,
        pod_place: PodPlace,
        holds: Callable[[str], bool],
        proofs: Proofs,
        owners: Owners | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._pod_place = pod_place
        self._holds = holds
        self._proofs = proofs
        self._owners = owners or Owners(pod_place)
        self._peers: dict[Owner, Peer] = {}
        self.whereabouts = Whereabouts(self.peer, self._owners.others)
        self._sockets = PassedSockets()

    @classmethod
    def none(cls, keys: Keys) -> Neighbours:
        """Of a process that has none."""
        return cls(ALONE, lambda _: True, Proofs(Seal(keys, PURPOSE, 0)))

    async def handle(
        self, request: web.Request, check: Check, handler: Handler
    ) -> web.StreamResponse:
        """Answer a request whose caller has a key, here or by whoever has the call."""
        if PROOF in request.headers:
            await self._admit(request)
        else:
            check(request)
        owner = await self._owner(request)
        if owner is None and not self._is_elsewhere(request):
            return await self._here(request, handler)
        try:
            if owner is None:
                raise no_such_call()
            response = await self._pass_on(owner, request)
        except Problem as problem:
            if problem.code != "no_such_call":
                raise
            response = None
        if response is not None and response.status != HTTPStatus.NOT_FOUND:
            return response
        moved_to = await self.whereabouts.search(
            _call_id(request), self.others, within_pod=PASSED in request
        )
        if moved_to is not None and moved_to != owner:
            return await self._pass_on(moved_to, request)
        return response or await self._here(request, handler)

    async def follow(
        self, call_id: str, principal: Principal, near: web.WebSocketResponse, unsaid: str
    ) -> None:
        """Pass a side band of this process on to where its call has moved, until either end closes.

        `unsaid` is what it said and the call did not hear any more.
        """
        path = f"{SIDEBAND_PATH}?call_id={call_id}&{AGAIN}"
        asked = Passed(hdrs.METH_GET, path, principal)
        far = await self._far_again(call_id, asked)
        if far is None:
            await near.close(code=WSCloseCode.GOING_AWAY)
            return
        if unsaid:
            await far.send_str(unsaid)
        again = partial(self._far_again, call_id, asked)
        await self._sockets.go_on(principal, near, far, again)

    async def _far_again(self, call_id: str, asked: Passed) -> ClientWebSocketResponse | None:
        """A side band at the new owner, which may not have gone live yet."""
        for tries in range(FOLLOW_TRIES):
            await asyncio.sleep(FOLLOW_PACE.wait_s(tries))
            owner = await self._now_at(call_id)
            if owner is None:
                continue
            try:
                return await (await self.peer(owner)).connect(asked.again())
            except (aiohttp.ClientError, TimeoutError, NotProven):
                continue
        return None

    async def _now_at(self, call_id: str) -> Owner | None:
        """Who has a call; this pod itself, when the call has come back."""
        if self._holds(call_id):
            return self._owners.own_http
        return await self.whereabouts.search(call_id, self.others, within_pod=False)

    async def pod_has(self, call_id: str, request: web.Request) -> bool:
        """Whether another process of this pod has a call; what a neighbour asks goes no further."""
        if from_neighbour(request):
            return False
        return await self.whereabouts.search(call_id, self.others, within_pod=True) is not None

    async def _here(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if PASSED in request:
            self.carry_out(request)
        return await handler(request)

    async def admit(self, request: web.Request, max_bytes: int = MAX_OFFER_BYTES) -> Passed:
        """A request that only processes of the fleet may make, with its body.

        Raises Problem wrong_key; who has no seal of the fleet's sends no body first.
        """
        await self._admit(request, max_bytes)
        return request[PASSED]

    @property
    def others(self) -> list[int]:
        """The other processes of this pod."""
        return [n for n in range(self._pod_place.count) if n != self._pod_place.index]

    @web.middleware
    async def proving(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Seal what is answered to another process."""
        response = await handler(request)
        if PASSED in request and isinstance(response, web.Response) and not response.prepared:
            body = response.body if isinstance(response.body, bytes) else b""
            proof = self._proofs.write_answer(request[PASSED].id, response.status, body)
            response.headers[ANSWERED] = proof
        return response

    @web.middleware
    async def joining(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer for all of the pod what is asked of all."""
        if self._pod_place.count > 1 and not from_neighbour(request):
            if request.path == "/metrics":
                return await self._metrics(request, handler)
            if request.path == "/healthz":
                return await self._health(request, handler)
        return await handler(request)

    async def ask_others(
        self, request: web.Request, passed: Passed, timeout_s: float
    ) -> list[Answer]:
        """What the others of this pod answer in time; what a neighbour asks goes no further."""
        if from_neighbour(request):
            return []
        return list((await self._ask_each(lambda peer: peer.ask(passed), timeout_s)).values())

    async def leave(self, _app: web.Application) -> None:
        """End the side bands that are passed on."""
        await self._sockets.close_all()

    async def close(self) -> None:
        """Close every connection."""
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            await peer.close()

    async def _admit(self, request: web.Request, max_bytes: int = MAX_OFFER_BYTES) -> None:
        """Take the word of another process for who asks. Raises Problem wrong_key."""
        proof = request.headers.get(PROOF, "")
        try:
            self._proofs.check(_head(request), proof)
            request[BODY] = await read_body(request, max_bytes, BODY_TIMEOUT_S)
            passed = self._proofs.read(await _asked(request), proof)
        except NotProven:
            raise self._unproven() from None
        request[PASSED], request[PRINCIPAL] = passed, passed.principal
        switching = HTTPStatus.SWITCHING_PROTOCOLS
        request[GREETING] = self._proofs.write_answer(passed.id, switching, b"")

    def carry_out(self, request: web.Request) -> None:
        """It is for this process: once. Raises Problem wrong_key for a repetition."""
        try:
            self._proofs.carry_out(request[PASSED])
        except NotProven:
            del request[PASSED]  # nobody of the fleet waits for a sealed answer
            raise self._unproven() from None

    def _unproven(self) -> Problem:
        self.counters[Counted.HTTP_UNPROVEN] += 1
        return unproven()

    async def _owner(self, request: web.Request) -> Owner | None:
        """Who else is to answer; None: this process, or nobody knows."""
        call_id = _call_id(request)
        if not self._is_elsewhere(request):
            return None
        moved_to = self.whereabouts.known(call_id, within_pod=PASSED in request)
        return moved_to or await self._owners.find(call_id, within_pod=PASSED in request)

    def _is_elsewhere(self, request: web.Request) -> bool:
        """Whether the request is about a call that is not here, and may go further."""
        call_id = _call_id(request)
        return bool(call_id) and not self._holds(call_id) and not from_neighbour(request)

    async def _pass_on(self, owner: Owner, request: web.Request) -> web.StreamResponse:
        peer = await self.peer(owner)
        passed = request.get(PASSED)
        asked = passed or replace(await _asked(request), principal=request[PRINCIPAL])
        try:
            if asked.method == hdrs.METH_GET and sideband_socket().can_prepare(request):
                return await self._join(peer, asked, request)
            answer = await peer.ask(asked)
        except aiohttp.ClientConnectionError:  # its calls ended with it
            raise no_such_call() from None
        except (TimeoutError, NotProven):
            raise Problem("owner_silent", "Try again in a moment.") from None
        return answer.response()

    async def _join(self, peer: Peer, asked: Passed, request: web.Request) -> web.StreamResponse:
        principal = request[PRINCIPAL]
        self._sockets.check_room(principal)
        try:
            far = await peer.connect(asked)
        except aiohttp.WSServerHandshakeError:
            return (await self._refusal(peer, asked)).response()
        path = f"{SIDEBAND_PATH}?call_id={_call_id(request)}&{AGAIN}"
        again = partial(self._far_again, _call_id(request), replace(asked, path=path))
        return await self._sockets.pass_on(request, principal, sideband_socket(), far, again)

    async def _refusal(self, peer: Peer, asked: Passed) -> Answer:
        """Why a side band was refused: a handshake's error has no body, a plain request's has."""
        again = Passed(asked.method, asked.path, asked.principal)
        answer = await peer.ask(again)
        if answer.status == web.HTTPUpgradeRequired.status_code:  # nothing else is wrong with it
            raise Problem("too_many_sidebands", "Close one of them first.")
        return answer

    async def _metrics(self, request: web.Request, handler: Handler) -> web.Response:
        own = await handler(request)
        answers = await self._ask_all("/metrics")
        texts = {index: answer.body.decode() for index, answer in answers.items()}
        if isinstance(own, web.Response) and isinstance(own.body, bytes):
            texts[self._pod_place.index] = own.body.decode()
        missing = set(range(self._pod_place.count)) - set(texts)
        page = joined(texts, missing)
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})

    async def _health(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ready when all that answer are ready. One that does not answer is being restarted."""
        own = await handler(request)
        if own.status != web.HTTPOk.status_code:
            return own
        for answer in (await self._ask_all("/healthz")).values():
            if answer.status != web.HTTPOk.status_code:
                return answer.response()
        return own

    async def _ask_all(self, path: str) -> Mapping[int, Answer]:
        """What those of this pod say that answer, and in time: whoever asks may not wait long."""
        return await self._ask_each(lambda peer: peer.ask_openly(path), POD_TIMEOUT_S)

    async def _ask_each(
        self, ask: Callable[[Peer], Coroutine[Any, Any, Answer]], timeout_s: float
    ) -> Mapping[int, Answer]:
        others = self.others
        peers = [await self.peer(index) for index in others]
        found = await asyncio.gather(
            *(asyncio.wait_for(ask(peer), timeout_s) for peer in peers),
            return_exceptions=True,
        )
        answers: dict[int, Answer] = {}
        for index, answer in zip(others, found, strict=True):
            if isinstance(answer, Answer):
                answers[index] = answer
            elif not isinstance(answer, aiohttp.ClientError | TimeoutError | NotProven):
                raise answer
        return answers

    async def peer(self, owner: Owner) -> Peer:
        """Connections to a process of this pod, or to another pod."""
        peer = self._peers.get(owner)
        if peer is None:
            if len(self._peers) >= MAX_PODS + self._pod_place.count:
                await self.close()
            peer = self._peers[owner] = self._made(owner)
        return peer

    def _made(self, owner: Owner) -> Peer:
        if isinstance(owner, Address):
            return pod(owner, self._proofs)
        return neighbour(str(self._pod_place.socket_of(owner)), self._proofs)


async def _asked(request: web.Request) -> Passed:
    """What a request asks, as it is passed on: nothing else of it goes further."""
    body = await read_body(request, MAX_OFFER_BYTES, BODY_TIMEOUT_S)
    return replace(_head(request), body=body)


def _head(request: web.Request) -> Passed:
    """The same without its body."""
    headers = request.headers
    return Passed(
        request.method,
        _target(request),
        NOBODY,
        headers.get(hdrs.CONTENT_TYPE, "")[:MAX_CHARS],
        headers.get(hdrs.IF_MATCH, "")[:MAX_CHARS],
    )


def _target(request: web.Request) -> str:
    """Path, and of the query the call alone; an id that is passed on has nothing to be quoted."""
    if request.path == SIDEBAND_PATH:
        again = f"&{AGAIN}" if PROOF in request.headers and AGAIN in request.query_string else ""
        return f"{SIDEBAND_PATH}?call_id={_call_id(request)}{again}"
    return request.path


def _call_id(request: web.Request) -> str:
    """The call that a request is about; "" for none."""
    if request.path == SIDEBAND_PATH:
        return request.query.get("call_id", "")
    return request.match_info.get("call_id", "")


def from_neighbour(request: web.Request) -> bool:
    """Whether the request came by the process's Unix socket, whose name is a path."""
    transport = request.transport
    return transport is not None and isinstance(transport.get_extra_info("sockname"), str)
