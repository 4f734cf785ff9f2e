"""One HTTP connection, and all of them: how many there may be, and which gives way.

A newcomer beyond the bound takes the place of the connection that has been of no use for longest:
no request of it is being answered, and its last one, or its beginning, is furthest back. So a
stranger who opens connections and says nothing, or trickles a head, keeps nobody out.

Whoever does not read what it asked for is let go: what it left unread for `UNREAD_TIMEOUT_S` in a
row is thrown away, and the connection with it, however many requests it has sent ahead.

What comes in one read, up to 250 KB, is parsed a little in each turn of the loop: forty thousand
chunks of one byte, or empty frames of a WebSocket, would hold all media up for tens of
milliseconds. Meanwhile nothing more is read.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter, OrderedDict
from contextlib import suppress
from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from transceiver.counters import Counted
from transceiver.signaling.log_rate import LogRate
from transceiver.signaling.problem import PROBLEM_TYPE, Problem, problem_object

UNREAD_TIMEOUT_S = 10.0
LOOK_INTERVAL_S = 1.0
SEND_BUFFER_BYTES = 128 * 1024  # of the kernel, for a connection; it may be megabytes otherwise
TURN_BYTES = 2048  # parsed in one turn of the loop: 1 ms for chunks of one byte, reading included

log = structlog.get_logger(__name__)


class TurnAway(asyncio.Protocol):
    """A connection beyond the bound when all others are of use: closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()


class Connections:
    """The open connections, at most `most`, the one longest of no use first.

    `options` are those of aiohttp's request handler. `counters` has what was let go and why.
    """

    def __init__(
        self, server: web.Server, most: int, counters: Counter[str], **options: Any
    ) -> None:
        self.counters = counters
        self._server = server
        self._most = most
        self._options = options
        self._open: OrderedDict[Connection, asyncio.Transport] = OrderedDict()
        self._unread_since_s: dict[Connection, float] = {}
        self._malformed = LogRate()

    def __len__(self) -> int:
        return len(self._open)

    def accept(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        if len(self._open) >= self._most and not self._make_room():
            self.counters[Counted.HTTP_TURNED_AWAY] += 1
            return TurnAway()
        return Connection(self, self._server, read_bufsize=TURN_BYTES, **self._options)

    def opened(self, connection: Connection, transport: asyncio.Transport) -> None:
        """It is there."""
        self._open[connection] = transport
        sock = transport.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def served(self, connection: Connection) -> None:
        """A request of it was answered."""
        if connection in self._open:
            self._open.move_to_end(connection)

    def closed(self, connection: Connection) -> None:
        """It is gone."""
        self._open.pop(connection, None)
        self._unread_since_s.pop(connection, None)

    def malformed(self) -> None:
        """Something that is no HTTP came: counted, and a line in the log now and then."""
        self.counters[Counted.HTTP_MALFORMED] += 1
        if self._malformed.allows(asyncio.get_running_loop().time()):
            log.info("http_malformed", unsaid=self._malformed.take_unsaid())

    async def watch(self) -> None:
        """Let those go that do not read, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            self.look(asyncio.get_running_loop().time())

    def look(self, now: float) -> None:
        """Once; `now` is the loop's time."""
        for connection, transport in list(self._open.items()):
            if not transport.get_write_buffer_size():
                self._unread_since_s.pop(connection, None)
            elif now - self._unread_since_s.setdefault(connection, now) >= UNREAD_TIMEOUT_S:
                self.counters[Counted.HTTP_UNREAD] += 1
                transport.abort()

    def _make_room(self) -> bool:
        for connection, transport in self._open.items():
            if connection.idle and not transport.is_closing():
                self.counters[Counted.HTTP_GAVE_WAY] += 1
                transport.abort()
                self.closed(connection)
                return True
        return False


class Connection(RequestHandler):
    """aiohttp's connection, as one of many."""

    __slots__ = ("_connections", "_turn", "_unparsed")

    def __init__(self, connections: Connections, server: web.Server, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._connections = connections
        self._unparsed = bytearray()  # of the last read
        self._turn: asyncio.Handle | None = None  # in which some more of it is parsed

    @property
    def idle(self) -> bool:
        """Whether no request of it is being answered."""
        return not self._request_in_progress

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        if isinstance(transport, asyncio.Transport):
            self._connections.opened(self, transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is closed."""
        self._connections.closed(self)
        self._unparsed.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the beginning of what came; b"" is aiohttp's own word for what it put aside."""
        if not data:
            super().data_received(data)
            return
        self._unparsed += data
        if self._turn is None:
            self._parse()

    def _parse(self) -> None:
        self._turn = None
        piece = bytes(self._unparsed[:TURN_BYTES])
        del self._unparsed[:TURN_BYTES]
        super().data_received(piece)
        if self._unparsed:
            self._pause_transport_reading()
        if not self._reading_paused and not self._buffer_paused:
            self._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        # Whoever reads has room again: for the rest of the last read first.
        if not self._unparsed:
            super()._resume_transport_reading()
        elif self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._parse)

    async def finish_response(self, *arguments: Any) -> tuple[web.StreamResponse, bool]:
        """Write an answer."""
        finished = await super().finish_response(*arguments)
        self._connections.served(self)
        return finished

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is counted and answered in few words, none of them its own."""
        if status != web.HTTPBadRequest.status_code:
            return super().handle_error(request, status, exc, message)
        self._connections.malformed()
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        problem = Problem("bad_request", "This is no HTTP request, or one that is too long.")
        response = web.Response(
            status=problem.status,
            text=json.dumps(problem_object(problem, openai=False)),
            content_type=PROBLEM_TYPE,
        )
        response.force_close()
        return response
