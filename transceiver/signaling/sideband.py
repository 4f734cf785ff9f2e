"""A WebSocket beside a call: a server reads and writes the events of the page.

    GET /v1/realtime?call_id=rtc_…   Upgrade: websocket

Text goes to the backend as if it had come on the caller's `oai-events` channel; every event sent on
that channel is copied here. It ends with the call (1000), when this process leaves (1001), or when
it is read too slowly (1013): a slow listener never holds up a call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from aiohttp import WSCloseCode, WSMsgType, web

from fleet.ending import end
from transceiver.signaling.access import PRINCIPAL
from transceiver.signaling.intake import CallSession, Intake
from transceiver.signaling.problem import Problem

SIDEBAND_PATH = "/v1/realtime"
GREETING = web.RequestKey("greeting", str)
"""Of a side band that another process passes on: what it waits for before it says anything."""
SUBPROTOCOL = "realtime"
MAX_MESSAGE_BYTES = 256 * 1024  # as on a data channel
MAX_WAITING = 512  # events not yet written
MAX_WAITING_CHARS = 1024 * 1024
MAX_SIDEBANDS = 512  # of this process; connections are bounded, and callers need them too
HEARTBEAT_S = 20.0
CLOSE_TIMEOUT_S = 2.0


class _Mailbox:
    """What one side band has not been sent yet, bounded; a transceiver.call.sidebands.Listener."""

    def __init__(self) -> None:
        self.close_code: WSCloseCode | None = None  # known when there is nothing more to send
        self._texts: deque[str] = deque()
        self._chars = 0
        self._came = asyncio.Event()

    def hear(self, text: str) -> None:
        """Keep an event; too many of them end it."""
        self._texts.append(text)
        self._chars += len(text)
        if len(self._texts) > MAX_WAITING or self._chars > MAX_WAITING_CHARS:
            self._texts.clear()
            self.close(WSCloseCode.TRY_AGAIN_LATER)
        self._came.set()

    def call_ended(self) -> None:
        """Send what is left, then close."""
        self.close(WSCloseCode.OK)

    def close(self, code: WSCloseCode) -> None:
        """Nothing follows; the first reason counts."""
        self.close_code = self.close_code or code
        self._came.set()

    async def next(self) -> str | None:
        """The next event; None when it is time to close."""
        while not self._texts and self.close_code is None:
            self._came.clear()
            await self._came.wait()
        if not self._texts:
            return None
        text = self._texts.popleft()
        self._chars -= len(text)
        return text


class Sideband:
    """The handler of side bands. `close_all` is for the end of the process."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._open: set[_Mailbox] = set()

    def routes(self) -> list[web.RouteDef]:
        """Where the handler lives."""
        return [web.get(SIDEBAND_PATH, self.join, allow_head=False)]

    async def join(self, request: web.Request) -> web.StreamResponse:
        """Join a call."""
        session = self._session(request)
        socket = sideband_socket()
        if not socket.can_prepare(request):
            headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
            raise Problem("upgrade_required", "Connect with a WebSocket client.", headers)
        mailbox = _Mailbox()
        if len(self._open) >= MAX_SIDEBANDS or not session.sidebands.join(mailbox):
            raise Problem("too_many_sidebands", "Close one of them first.")
        self._open.add(mailbox)
        try:
            await socket.prepare(request)
            if GREETING in request:
                await socket.send_str(request[GREETING])
            await _converse(socket, session, mailbox, from_server=_is_server(request))
        finally:
            self._open.discard(mailbox)
            session.sidebands.leave(mailbox)
        return socket

    async def close_all(self, _app: web.Application) -> None:
        """Tell every side band that this process leaves."""
        for mailbox in self._open:
            mailbox.close(WSCloseCode.GOING_AWAY)

    def _session(self, request: web.Request) -> CallSession:
        call_id = request.query.get("call_id")
        if not call_id:
            detail = "Name a call by call_id; sessions over a WebSocket alone are not offered."
            raise Problem("no_call_id", detail)
        return self._intake.find(call_id, request[PRINCIPAL])


def _is_server(request: web.Request) -> bool:
    return not request[PRINCIPAL].secret_id


def sideband_socket() -> web.WebSocketResponse:
    """The server's end of a side band, before it is prepared."""
    return web.WebSocketResponse(
        timeout=CLOSE_TIMEOUT_S,
        heartbeat=HEARTBEAT_S,
        protocols=(SUBPROTOCOL,),
        compress=False,
        max_msg_size=MAX_MESSAGE_BYTES,
    )


async def _converse(
    socket: web.WebSocketResponse, session: CallSession, mailbox: _Mailbox, *, from_server: bool
) -> None:
    reading = asyncio.ensure_future(_read(socket, session, mailbox, from_server=from_server))
    writing = asyncio.ensure_future(_write(socket, mailbox))
    try:
        await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        # Whoever left first: the last events may leave, for a moment.
        await asyncio.wait((writing,), timeout=2 * CLOSE_TIMEOUT_S)
    finally:
        # Nobody may read while it closes, or aiohttp hangs up before the peer's close has come
        # (RFC 6455 §7.1.1), and the peer takes a good end for a broken one.
        await end([reading, writing])
    await _close(socket, mailbox.close_code or WSCloseCode.OK)
    for task in (reading, writing):
        _raise_unless_gone(task)


async def _read(
    socket: web.WebSocketResponse, session: CallSession, mailbox: _Mailbox, *, from_server: bool
) -> None:
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                mailbox.close(WSCloseCode.UNSUPPORTED_DATA)
                return
            session.hear_sideband(message.data, from_server=from_server)
    finally:
        mailbox.close(WSCloseCode.OK)  # unless there was another reason


async def _write(socket: web.WebSocketResponse, mailbox: _Mailbox) -> None:
    while (text := await mailbox.next()) is not None:
        await socket.send_str(text)


async def _close(socket: web.WebSocketResponse, code: int) -> None:
    """Close; a peer that takes nothing more is given up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
            await socket.close(code=code)


def _raise_unless_gone(task: asyncio.Future[None]) -> None:
    """What went wrong in it; a peer that is gone is no error."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, ConnectionError):
        raise error
