"""Another process of the fleet, to which this one passes requests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict

from fleet.address import Address

ANSWER_TIMEOUT_S = 5.0
MAX_EVENT_BYTES = 4 * 1024 * 1024  # as much as a side band may be waiting for
PASSED_ON = "Trunkline-Passed-On"
"""Says that another pod was asked first: whoever reads it asks its own pod at most."""

# Of this connection and not of the message (RFC 9110 §7.6.1), or made anew by whoever sends.
_OWN_HEADERS = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("content-length", "date", "server", "host", PASSED_ON.lower()),
        *("sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions"),
    }
)


@dataclass(frozen=True)
class Answer:
    """What a process answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def response(self) -> web.Response:
        """The same answer, from here."""
        return web.Response(status=self.status, body=self.body, headers=kept(self.headers))


class Peer:
    """Connections to one process; `close` ends them. Made by `neighbour` or `pod`."""

    def __init__(self, connector: aiohttp.BaseConnector, url: str, *, marked: bool) -> None:
        self._url = url
        self._marks = {PASSED_ON: "1"} if marked else {}
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(ANSWER_TIMEOUT_S),
            auto_decompress=False,
        )

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """One request. Raises aiohttp.ClientError and TimeoutError."""
        sent = kept(headers or {})
        sent.update(self._marks)
        async with self._session.request(
            method, self._url + path, headers=sent, data=body
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def connect(
        self, path: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket. Raises aiohttp.WSServerHandshakeError when it is refused, and as `ask`."""
        sent = kept(headers)
        sent.update(self._marks)
        offered = sent.pop(hdrs.SEC_WEBSOCKET_PROTOCOL, "")
        return await self._session.ws_connect(
            self._url + path,
            headers=sent,
            protocols=[name.strip() for name in offered.split(",") if name.strip()],
            max_msg_size=MAX_EVENT_BYTES,
            timeout=aiohttp.ClientWSTimeout(ws_close=ANSWER_TIMEOUT_S),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


def neighbour(socket_path: str) -> Peer:
    """A process of this pod, which answers whatever comes by its Unix socket by itself."""
    return Peer(aiohttp.UnixConnector(socket_path), "http://neighbour", marked=False)


def pod(address: Address) -> Peer:
    """Another pod, whichever of its processes accepts."""
    return Peer(aiohttp.TCPConnector(), f"http://{address}", marked=True)


def kept(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The headers that belong to the message."""
    return CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in _OWN_HEADERS
    )
