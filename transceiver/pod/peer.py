"""Another process of the fleet, to which this one passes requests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from aiohttp import hdrs, web

from transceiver.pod.proof import ANSWERED, PROOF, NotProven, Passed, Proofs
from transceiver.signaling.sideband import SUBPROTOCOL
from trunkline.process.address import Address

ANSWER_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 1024 * 1024  # a page of metrics is the largest
MAX_EVENT_BYTES = 4 * 1024 * 1024  # as much as a side band may be waiting for

# What an answer says to the caller beside its body; all else is of the connection, or of nobody.
_PASSED_HEADERS = (
    *(hdrs.CONTENT_TYPE, hdrs.ETAG, hdrs.ALLOW, hdrs.RETRY_AFTER, hdrs.UPGRADE),
    *(hdrs.WWW_AUTHENTICATE, "Accept-Patch", "Accept-Post"),
)


@dataclass(frozen=True)
class Answer:
    """What a process answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def response(self) -> web.Response:
        """The same answer, from here."""
        headers = {name: self.headers[name] for name in _PASSED_HEADERS if name in self.headers}
        return web.Response(status=self.status, body=self.body, headers=headers)


class Peer:
    """Connections to one process; `close` ends them. Made by `neighbour` or `pod`."""

    def __init__(self, connector: aiohttp.BaseConnector, url: str, proofs: Proofs) -> None:
        self._url = url
        self._proofs = proofs
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(ANSWER_TIMEOUT_S),
            auto_decompress=False,
        )

    async def ask(self, request: Passed) -> Answer:
        """One request, proven, and its answer, likewise.

        Raises aiohttp.ClientError, TimeoutError and NotProven.
        """
        answer = await self._ask(request.method, request.path, self._headers(request), request.body)
        proof = answer.headers.get(ANSWERED, "")
        self._proofs.check_answer(request.id, answer.status, answer.body, proof)
        return answer

    async def ask_openly(self, path: str) -> Answer:
        """A page that everybody may have. Raises aiohttp.ClientError and TimeoutError."""
        return await self._ask(hdrs.METH_GET, path, {}, b"")

    async def connect(self, request: Passed) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket to a process that has proven to be of the fleet.

        Raises aiohttp.WSServerHandshakeError when it is refused, and as `ask`.
        """
        far = await self._session.ws_connect(
            self._url + request.path,
            headers=self._headers(request),
            protocols=(SUBPROTOCOL,),
            max_msg_size=MAX_EVENT_BYTES,
            timeout=aiohttp.ClientWSTimeout(ws_close=ANSWER_TIMEOUT_S),
        )
        try:
            await self._check_greeting(request, far)
        except BaseException:
            await far.close()
            raise
        return far

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def _check_greeting(self, request: Passed, far: aiohttp.ClientWebSocketResponse) -> None:
        message = await far.receive(ANSWER_TIMEOUT_S)
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise NotProven("no greeting")
        switching = HTTPStatus.SWITCHING_PROTOCOLS
        self._proofs.check_answer(request.id, switching, b"", message.data)

    def _headers(self, request: Passed) -> dict[str, str]:
        headers: dict[str, str] = {
            hdrs.CONTENT_TYPE: request.content_type,
            hdrs.IF_MATCH: request.if_match,
        }
        given = {name: value for name, value in headers.items() if value}
        return {PROOF: self._proofs.write(request), **given}

    async def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        asking = self._session.request(
            *(method, self._url + path),
            headers=headers,
            data=body or None,
            skip_auto_headers=(hdrs.CONTENT_TYPE,),
            allow_redirects=False,
        )
        async with asking as answer:
            return Answer(answer.status, answer.headers, await _body(answer))


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises aiohttp.ClientPayloadError for one that is too long."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError("the answer is too long")
    return bytes(body)


def neighbour(socket_path: str, proofs: Proofs) -> Peer:
    """A process of this pod, which answers whatever comes by its Unix socket by itself."""
    return Peer(aiohttp.UnixConnector(socket_path), "http://neighbour", proofs)


def pod(address: Address, proofs: Proofs) -> Peer:
    """Another pod, whichever of its processes accepts."""
    return Peer(aiohttp.TCPConnector(), f"http://{address}", proofs)
