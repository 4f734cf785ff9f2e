"""The processes of a pod behind one HTTP port: each answers for all.

    caller ─▶ any process ── about a call of another ──▶ its Unix socket ─▶ that process
                          ── /metrics, /healthz ───────▶ all of them, answers joined

Whatever comes by a Unix socket is answered by the process itself, so no request goes round. The
owner of a call checks the key; nothing is trusted because it came from a neighbour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict, CIMultiDictProxy
from prometheus_client import CONTENT_TYPE_LATEST

from transceiver.call_id import process_of
from transceiver.place import Place
from transceiver.signaling.body import read_body
from transceiver.signaling.intake import no_such_call
from transceiver.signaling.joined_metrics import joined
from transceiver.signaling.offer_policy import MAX_OFFER_BYTES

ANSWER_TIMEOUT_S = 5.0
BODY_TIMEOUT_S = 10.0
# Of this connection and not of the message (RFC 9110 §7.6.1), or made anew by whoever sends.
_OWN_HEADERS = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("content-length", "date", "server", "host"),
    }
)


class Neighbours:
    """What one process of a pod knows of the others. `holds` says which calls are here.

    `middleware` goes innermost; `close` ends the connections to the others.
    """

    def __init__(self, place: Place, holds: Callable[[str], bool]) -> None:
        self._place = place
        self._holds = holds
        self._clients: dict[int, aiohttp.ClientSession] = {}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer for whoever the request is meant for."""
        if self._place.count == 1 or _from_neighbour(request):
            return await handler(request)
        if request.path == "/metrics":
            return await self._metrics(request, handler)
        if request.path == "/healthz":
            return await self._health(request, handler)
        owner = self._owner(request)
        return await (handler(request) if owner is None else self._ask_owner(owner, request))

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    def _owner(self, request: web.Request) -> int | None:
        """Who else is to answer; None: this process."""
        call_id = request.match_info.get("call_id", "")
        owner = process_of(call_id)
        elsewhere = owner is not None and owner != self._place.index and owner < self._place.count
        return owner if elsewhere and not self._holds(call_id) else None

    async def _ask_owner(self, owner: int, request: web.Request) -> web.Response:
        body = await read_body(request, MAX_OFFER_BYTES, BODY_TIMEOUT_S)
        try:
            status, headers, answer = await self._ask(
                owner, request.method, request.path_qs, _kept(request.headers), body
            )
        except aiohttp.ClientConnectionError:  # its calls ended with it
            raise no_such_call() from None
        return web.Response(status=status, body=answer, headers=_kept(headers))

    async def _metrics(self, request: web.Request, handler: Handler) -> web.Response:
        own = await handler(request)
        texts = {
            index: body.decode() for index, (_, body) in (await self._ask_all("/metrics")).items()
        }
        if isinstance(own, web.Response) and isinstance(own.body, bytes):
            texts[self._place.index] = own.body.decode()
        return web.Response(body=joined(texts), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Ready when all are that answer; who does not is being restarted, and takes no calls."""
        own = await handler(request)
        if own.status != web.HTTPOk.status_code:
            return own
        for status, body in (await self._ask_all("/healthz")).values():
            if status != web.HTTPOk.status_code:
                return web.Response(status=status, body=body, content_type="application/json")
        return own

    async def _ask_all(self, path: str) -> Mapping[int, tuple[int, bytes]]:
        """Status and body of those that answer."""
        others = [n for n in range(self._place.count) if n != self._place.index]
        found = await asyncio.gather(
            *(self._ask(index, hdrs.METH_GET, path) for index in others), return_exceptions=True
        )
        answers: dict[int, tuple[int, bytes]] = {}
        for index, answer in zip(others, found, strict=True):
            if isinstance(answer, tuple):
                answers[index] = (answer[0], answer[2])
            elif not isinstance(answer, aiohttp.ClientError | TimeoutError):
                raise answer
        return answers

    async def _ask(
        self,
        index: int,
        method: str,
        path: str,
        headers: CIMultiDict[str] | None = None,
        body: bytes = b"",
    ) -> tuple[int, CIMultiDictProxy[str], bytes]:
        url = f"http://neighbour{path}"
        async with self._client(index).request(method, url, headers=headers, data=body) as answer:
            return answer.status, answer.headers, await answer.read()

    def _client(self, index: int) -> aiohttp.ClientSession:
        client = self._clients.get(index)
        if client is None:
            client = self._clients[index] = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self._place.socket_of(index))),
                timeout=aiohttp.ClientTimeout(ANSWER_TIMEOUT_S),
                auto_decompress=False,
            )
        return client


def _from_neighbour(request: web.Request) -> bool:
    """Whether the request came by the process's Unix socket, whose name is a path."""
    transport = request.transport
    return transport is not None and isinstance(transport.get_extra_info("sockname"), str)


def _kept(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in _OWN_HEADERS
    )
